#ifndef KVFERRY_TESTS_INTEGRATION_C_API_OLDER_HEADER_KVFERRY_KVFERRY_H_
#define KVFERRY_TESTS_INTEGRATION_C_API_OLDER_HEADER_KVFERRY_KVFERRY_H_

#include <stddef.h>
#include <stdint.h>

// The C interface as an earlier version of it would have been: fewer functions,
// and structs that end before fields that came later. It is frozen: what it
// declares must work with every library of the same SONAME.

#define KVF_ABI_VERSION 1

typedef enum kvf_status {
  KVF_OK = 0,
  KVF_INVALID_ARGUMENT = 3,
  KVF_NOT_FOUND = 5,
  KVF_FAILED_PRECONDITION = 9,
  KVF_OUT_OF_RANGE = 11,
  KVF_UNIMPLEMENTED = 12
} kvf_status;

typedef struct kvf_client kvf_client;
typedef struct kvf_prefix kvf_prefix;
typedef struct kvf_publication kvf_publication;
typedef struct kvf_stream kvf_stream;
typedef struct kvf_ticket_content kvf_ticket_content;
typedef struct kvf_paged kvf_paged;

const char* kvf_version(void);
uint32_t kvf_abi_version(void);
const char* kvf_status_name(kvf_status status);
const char* kvf_error_message(void);

typedef struct kvf_key {
  uint64_t lo;
  uint64_t hi;
} kvf_key;

typedef struct kvf_bytes {
  const void* data;
  size_t length;
} kvf_bytes;

// Later: rule, trailing_blocks.
typedef struct kvf_group_spec {
  size_t size;
  const char* name;
  uint32_t block_tokens;
  uint32_t layer_count;
  uint32_t kv_count;
  uint32_t head_count;
  uint32_t head_bytes;
  uint32_t slice_count;
} kvf_group_spec;

typedef struct kvf_namespace_spec {
  size_t size;
  const char* name;
  const char* model;
  const char* revision;
  const char* dtype;
  const kvf_group_spec* groups;
  size_t group_count;
} kvf_namespace_spec;

// Later: flags, client_name, timeout_ns, spin_ns.
typedef struct kvf_attach_options {
  size_t size;
  const char* socket_path;
  const kvf_namespace_spec* spec;
} kvf_attach_options;

// Later: quota_bytes, session, block_capacity, group_count, connected.
typedef struct kvf_namespace_info {
  size_t size;
  const char* name;
  const char* model;
  const char* revision;
  const char* dtype;
  uint8_t salt[32];
  uint64_t epoch;
  uint64_t namespace_id;
} kvf_namespace_info;

kvf_status kvf_client_attach(const kvf_attach_options* options,
                             kvf_client** client);
void kvf_client_close(kvf_client* client);
kvf_status kvf_client_info(const kvf_client* client, kvf_namespace_info* info);
kvf_status kvf_client_group(const kvf_client* client, uint32_t group,
                            kvf_group_spec* spec);

typedef struct kvf_group_keys {
  size_t size;
  const kvf_key* keys;
  size_t key_count;
  uint32_t group;
  uint32_t tail_tokens;
} kvf_group_keys;

kvf_status kvf_prefix_create(kvf_prefix** prefix);
void kvf_prefix_destroy(kvf_prefix* prefix);
kvf_status kvf_match(kvf_client* client, const kvf_group_keys* groups,
                     size_t group_count, kvf_prefix* prefix);
uint64_t kvf_prefix_tokens(const kvf_prefix* prefix);
kvf_status kvf_prefix_page(const kvf_prefix* prefix, uint32_t position,
                           uint32_t slice, uint32_t group, kvf_bytes* page);

// Later: estimate_ns, answer.
typedef struct kvf_lookup_result {
  size_t size;
  uint64_t tokens;
  uint64_t coming_tokens;
} kvf_lookup_result;

kvf_status kvf_lookup(kvf_client* client, const kvf_group_keys* groups,
                      size_t group_count, kvf_lookup_result* result);

typedef struct kvf_paged_layer {
  size_t size;
  void* base;
  int64_t kv_stride;
  int64_t block_stride;
  int64_t token_stride;
  int64_t head_stride;
} kvf_paged_layer;

// Later: slice_first, slice_count, sub_blocks.
typedef struct kvf_paged_options {
  size_t size;
  const kvf_group_spec* group;
  const kvf_paged_layer* layers;
  size_t layer_count;
  uint64_t block_count;
} kvf_paged_options;

kvf_status kvf_paged_create(const kvf_paged_options* options,
                            kvf_paged** paged);
void kvf_paged_destroy(kvf_paged* paged);
kvf_status kvf_prefix_copy_to(const kvf_prefix* prefix, uint32_t group,
                              uint32_t first, size_t count,
                              const kvf_paged* paged,
                              const uint64_t* engine_blocks,
                              uint32_t last_tokens);

// Later: slices, stall_timeout_ns, flags.
typedef struct kvf_publication_options {
  size_t size;
  uint64_t engine_instance;
  uint64_t publication;
} kvf_publication_options;

kvf_status kvf_publication_open(kvf_client* client,
                                const kvf_publication_options* options,
                                kvf_publication** publication);
void kvf_publication_destroy(kvf_publication* publication);
kvf_status kvf_publication_begin(kvf_publication* publication, uint32_t group,
                                 const kvf_key* parent, const kvf_key* keys,
                                 size_t key_count, uint32_t tail_tokens,
                                 int64_t timeout_ns, uint32_t* first);
kvf_status kvf_publication_page(kvf_publication* publication, uint32_t position,
                                uint32_t slice, void** page,
                                size_t* page_bytes);
kvf_status kvf_publication_commit_and_wait(kvf_publication* publication,
                                           uint32_t first, uint32_t count,
                                           int64_t timeout_ns);

// Later: the hint.
typedef struct kvf_stream_options {
  size_t size;
  uint64_t flags;
  uint32_t group;
  uint32_t tail_tokens;
} kvf_stream_options;

// Later: what is counted below, of layers and copies.
typedef struct kvf_stream_state {
  size_t size;
  uint64_t ok_tokens;
} kvf_stream_state;

// Later: whole_blocks.
typedef struct kvf_pull_options {
  size_t size;
  uint32_t slice_first;
  uint32_t slice_count;
} kvf_pull_options;

typedef void (*kvf_copy_out)(void* context, uint32_t block, uint32_t slice,
                             uint32_t layer, uint32_t layers, kvf_bytes bytes);

kvf_status kvf_stream_create(kvf_stream** stream);
void kvf_stream_destroy(kvf_stream* stream);
kvf_status kvf_match_stream(kvf_client* client, const kvf_key* keys,
                            size_t key_count, const kvf_stream_options* options,
                            kvf_stream* stream);
kvf_status kvf_stream_get_state(const kvf_stream* stream,
                                kvf_stream_state* state);
kvf_status kvf_stream_pull_to(kvf_stream* stream,
                              const kvf_pull_options* options,
                              kvf_copy_out copy, void* context,
                              int64_t timeout_ns);

typedef struct kvf_ticket {
  uint32_t length;
  uint8_t bytes[256];
} kvf_ticket;

// Later: hand_over.
typedef struct kvf_ticket_options {
  size_t size;
  uint32_t consumers;
  uint32_t tail_tokens;
  int64_t ttl_ns;
} kvf_ticket_options;

// Later: hand_over, group, tail_tokens, the hint.
typedef struct kvf_ticket_content_info {
  size_t size;
  const kvf_key* keys;
  size_t key_count;
} kvf_ticket_content_info;

kvf_status kvf_ticket_mint(kvf_client* client,
                           const kvf_publication* publication, uint32_t group,
                           const kvf_key* keys, size_t key_count,
                           const kvf_ticket_options* options,
                           kvf_ticket* ticket);
kvf_status kvf_ticket_redeem(kvf_client* client, const kvf_ticket* ticket,
                             kvf_ticket_content** content);
void kvf_ticket_content_destroy(kvf_ticket_content* content);
kvf_status kvf_ticket_content_get(const kvf_ticket_content* content,
                                  kvf_ticket_content_info* info);

#endif  // KVFERRY_TESTS_INTEGRATION_C_API_OLDER_HEADER_KVFERRY_KVFERRY_H_
