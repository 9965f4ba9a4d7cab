#ifndef KVFERRY_TESTS_INTEGRATION_C_API_CURRENT_PROGRAM_H_
#define KVFERRY_TESTS_INTEGRATION_C_API_CURRENT_PROGRAM_H_

#include "kvferry/kvferry.h"

// What the scenarios of current_program share: one namespace with a group of
// pages that are PAGE_BYTES, and pages whose bytes follow from a number.

enum {
  BLOCK_TOKENS = 16,
  LAYERS = 2,
  HEADS = 2,  // of a slice
  HEAD_BYTES = 32,
  SLICES = 2,
  PAGE_BYTES = LAYERS * 2 * BLOCK_TOKENS * HEADS * HEAD_BYTES,
  BLOCK_BYTES = PAGE_BYTES * SLICES
};

kvf_group_spec the_group(void);
// Attaches to the namespace `name`, with `flags`.
kvf_client* attach(const char* socket_path, const char* name, uint64_t flags);
// The keys of `count` blocks of a prompt that `seed` stands for.
void make_keys(kvf_client* client, uint32_t seed, size_t count, kvf_key* keys);
// The bytes of block `number`; `bytes` of them from its first slice on.
void fill_block(uint8_t* block, size_t bytes, uint32_t number);
// Publishes blocks first_number, first_number + 1, ... under `keys`.
void publish_blocks(kvf_client* client, const kvf_key* keys, size_t count,
                    uint32_t first_number);
// Waits until the daemon has taken in that all of `keys` are being written: a
// single writer's begin does not wait for it.
void wait_until_coming(kvf_client* client, const kvf_key* keys, size_t count);

// Each scenario is a file of its name.
void run_publish_and_match(const char* socket_path);
void run_publication(const char* socket_path);
void run_stream(const char* socket_path);
void run_ticket(const char* socket_path);
void run_paged(const char* socket_path);
void run_gpu(const char* socket_path);
void run_admin(const char* socket_path);
void run_admin_gpu(const char* socket_path);
void run_errors(const char* socket_path);
void run_lifetimes(const char* socket_path);

#endif  // KVFERRY_TESTS_INTEGRATION_C_API_CURRENT_PROGRAM_H_
