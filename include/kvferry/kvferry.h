#ifndef KVFERRY_KVFERRY_H_
#define KVFERRY_KVFERRY_H_

#include <stddef.h>
#include <stdint.h>

// KVFerry's client SDK for C and for everything that calls C. It does what the
// C++ headers do, which say more of what each call means; GPU memory is in
// kvferry_gpu.h, what an operator asks in kvferry_admin.h. Link libkvferry-c.
//
// Promise   Binary compatibility within KVF_ABI_VERSION: a program that was
//           built against an older header runs with a newer library, and one
//           that was built against a newer header is refused what the older
//           library does not know (KVF_UNIMPLEMENTED), never misunderstood.
//           (docs/decisions/0006-c-abi.md)
// Structs   Every struct of options or results begins with `size`, its sizeof
//           as the caller knows it. All zero but `size` means the defaults.
//           The library reads and writes no byte beyond `size`. A caller's
//           struct that is larger than the library's must be zero in the rest;
//           of a larger result the rest is zeroed.
// Errors    Every call that can fail returns a kvf_status and, when it is not
//           KVF_OK, leaves what it would have filled empty or as it was.
//           kvf_error_message() has the reason, the offending value named. A
//           null pointer where one is needed is KVF_INVALID_ARGUMENT. No
//           exception leaves a call.
// Handles   Opaque. What a handle was made from may be closed first: it stays
//           until the last of its handles is destroyed. Destroying null does
//           nothing.
// Threads   A kvf_client is used by any number of threads (a kvf_gpu and a
//           kvf_transfer, too), every other handle by one at a time.
// Fork      In a forked child every call on a parent's handle answers
//           KVF_FAILED_PRECONDITION (or 0); destroying one is safe and touches
//           nothing of the parent's. kvf_hasher and kvf_paged stay usable.
// Times     int64_t nanoseconds. A timeout below 0 is for ever, 0 does not
//           wait.
// Strings   UTF-8, NUL-terminated, unless a length is given.

#define KVF_ABI_VERSION 1

#if defined(__cplusplus)
extern "C" {
#endif

#define KVF_EXPORT __attribute__((visibility("default")))

// Codes of the canonical space that gRPC and Abseil use.
typedef enum kvf_status {
  KVF_OK = 0,
  KVF_CANCELLED = 1,
  KVF_UNKNOWN = 2,
  KVF_INVALID_ARGUMENT = 3,
  KVF_DEADLINE_EXCEEDED = 4,
  KVF_NOT_FOUND = 5,
  KVF_ALREADY_EXISTS = 6,
  KVF_PERMISSION_DENIED = 7,
  KVF_RESOURCE_EXHAUSTED = 8,
  KVF_FAILED_PRECONDITION = 9,
  KVF_ABORTED = 10,
  KVF_OUT_OF_RANGE = 11,
  KVF_UNIMPLEMENTED = 12,
  KVF_INTERNAL = 13,
  KVF_UNAVAILABLE = 14,
  KVF_DATA_LOSS = 15,
  KVF_UNAUTHENTICATED = 16
} kvf_status;

typedef struct kvf_client kvf_client;
typedef struct kvf_hasher kvf_hasher;
typedef struct kvf_prefix kvf_prefix;
typedef struct kvf_publication kvf_publication;
typedef struct kvf_stream kvf_stream;
typedef struct kvf_ticket_content kvf_ticket_content;
typedef struct kvf_paged kvf_paged;

// --- general ---------------------------------------------------------------

// "0.1.0", and the KVF_ABI_VERSION of the library.
KVF_EXPORT const char* kvf_version(void);
KVF_EXPORT uint32_t kvf_abi_version(void);
// "INVALID_ARGUMENT"; "UNKNOWN" for what is no code.
KVF_EXPORT const char* kvf_status_name(kvf_status status);
// Of the last call of this thread that failed; its, until the next that fails.
// Never null.
KVF_EXPORT const char* kvf_error_message(void);

// --- keys and layout (key.h, layout.h) ---------------------------------------

// The name of a block; its 16 bytes in memory are the digest's first 16. An
// array of keys is a packed buffer. All zero means no key.
typedef struct kvf_key {
  uint64_t lo;
  uint64_t hi;
} kvf_key;

// Bytes that somebody else owns.
typedef struct kvf_bytes {
  const void* data;
  size_t length;
} kvf_bytes;

typedef enum kvf_hit_rule {
  KVF_HIT_ALL_PREFIX = 0,
  KVF_HIT_TRAILING = 1,
  KVF_HIT_CHECKPOINT = 2
} kvf_hit_rule;

// A set of layers with one page size; nothing in it has a default.
// A page is [layer][K,V][token][head of the slice][head_bytes].
typedef struct kvf_group_spec {
  size_t size;
  const char* name;
  uint32_t block_tokens;
  uint32_t layer_count;
  uint32_t kv_count;
  uint32_t head_count;  // of one slice
  uint32_t head_bytes;
  uint32_t slice_count;
  uint32_t rule;  // kvf_hit_rule
  uint32_t trailing_blocks;
} kvf_group_spec;

typedef struct kvf_namespace_spec {
  size_t size;
  const char* name;
  const char* model;
  const char* revision;
  const char* dtype;
  const kvf_group_spec* groups;  // an array; all of one `size`
  size_t group_count;
} kvf_namespace_spec;

// `hex` has room for 33 bytes.
KVF_EXPORT kvf_status kvf_key_to_hex(const kvf_key* key, char* hex);
KVF_EXPORT kvf_status kvf_key_from_hex(const char* hex, kvf_key* key);

// Makes chained keys from tokens, of `group` of the client's namespace.
KVF_EXPORT kvf_status kvf_hasher_create(const kvf_client* client,
                                        uint32_t group, kvf_hasher** hasher);
// The same without a daemon. `salt` is 32 bytes (kvf_namespace_info.salt).
KVF_EXPORT kvf_status kvf_hasher_create_for(const uint8_t* salt, uint32_t group,
                                            uint32_t block_tokens,
                                            kvf_hasher** hasher);
KVF_EXPORT void kvf_hasher_destroy(kvf_hasher* hasher);
// Keys of the full blocks of `tokens`, chained after `parent` (null: none).
// *count is how many there are; no more than `capacity` are written.
// Errors  KVF_OUT_OF_RANGE  capacity is too small; nothing was written
KVF_EXPORT kvf_status kvf_hasher_hash_blocks(kvf_hasher* hasher,
                                             const kvf_key* parent,
                                             const uint32_t* tokens,
                                             size_t token_count,
                                             kvf_bytes extra, kvf_key* keys,
                                             size_t capacity, size_t* count);
// The key of one block, perhaps a tail with fewer tokens.
KVF_EXPORT kvf_status kvf_hasher_hash_block(kvf_hasher* hasher,
                                            const kvf_key* parent,
                                            const uint32_t* tokens,
                                            size_t token_count, kvf_bytes extra,
                                            kvf_key* key);

typedef enum kvf_digest_kind {
  KVF_DIGEST_CRYPTOGRAPHIC = 0,  // SHA-256, BLAKE3: cut
  KVF_DIGEST_OTHER = 1           // xxHash and the like: hashed with the salt
} kvf_digest_kind;

// Keys of an engine's own digests: digest i is `digest_size` bytes at
// digests + i * stride. `salt` is 32 bytes, `kind` a kvf_digest_kind.
KVF_EXPORT kvf_status kvf_keys_from_digests(const uint8_t* salt, uint32_t group,
                                            uint32_t kind, const void* digests,
                                            size_t digest_size, size_t stride,
                                            size_t count, kvf_key* keys);

// --- attach (client.h, options.h) --------------------------------------------

enum {
  KVF_ATTACH_ACCEPT_EXISTING = 1 << 0,  // only spec->name is read
  KVF_ATTACH_NO_CREATE = 1 << 1,        // do not make the namespace
  KVF_ATTACH_READ_ONLY = 1 << 2,        // match, do not publish
  KVF_ATTACH_NO_WAIT = 1 << 3,          // not for the first memory
  KVF_ATTACH_NO_REATTACH = 1 << 4       // not by itself after a restart
};

// Which residences of a block count as a hit.
typedef enum kvf_residence_use {
  KVF_RESIDENCES_HOST = 0,  // those in host memory, which everybody can read
  KVF_RESIDENCES_ANY = 1    // in GPU memory, too: for a process that decides
                            // and has others read
} kvf_residence_use;

typedef struct kvf_attach_options {
  size_t size;
  const char* socket_path;  // null: kvf_default_socket_path()
  const kvf_namespace_spec* spec;
  uint64_t flags;           // KVF_ATTACH_*; one that is unknown is refused
  const char* client_name;  // null: the program's name
  int64_t timeout_ns;       // 0: 10 s
  int64_t spin_ns;          // 0: 20 us; below 0: never
  uint32_t residences;      // kvf_residence_use
  uint32_t reserved;        // 0
} kvf_attach_options;

typedef struct kvf_namespace_info {
  size_t size;
  // The client's.
  const char* name;
  const char* model;
  const char* revision;
  const char* dtype;
  uint8_t salt[32];
  uint64_t epoch;
  uint64_t namespace_id;
  uint64_t quota_bytes;
  uint32_t session;
  uint32_t block_capacity;
  uint32_t group_count;
  uint32_t connected;  // 1 while the daemon is there
} kvf_namespace_info;

// The calling thread's, until it calls again.
KVF_EXPORT const char* kvf_default_socket_path(void);
KVF_EXPORT kvf_status kvf_client_attach(const kvf_attach_options* options,
                                        kvf_client** client);
KVF_EXPORT void kvf_client_close(kvf_client* client);
KVF_EXPORT int kvf_client_connected(const kvf_client* client);
KVF_EXPORT kvf_status kvf_client_info(const kvf_client* client,
                                      kvf_namespace_info* info);
// Its name is the client's.
KVF_EXPORT kvf_status kvf_client_group(const kvf_client* client, uint32_t group,
                                       kvf_group_spec* spec);
// Drops every block of the namespace, for all its sessions (new weights).
// Blocks that are being read rest until they are not; none is found any more
// when the call returns. *content_epoch may be null.
// Errors  KVF_PERMISSION_DENIED  attached read-only
KVF_EXPORT kvf_status kvf_client_clear(kvf_client* client, int64_t timeout_ns,
                                       uint64_t* content_epoch);

// --- match (match.h, lookup.h) -----------------------------------------------

// The keys of one group's blocks of a prompt, in token order.
typedef struct kvf_group_keys {
  size_t size;
  const kvf_key* keys;
  size_t key_count;
  uint32_t group;
  uint32_t tail_tokens;  // valid tokens of the last block; 0: a full one
} kvf_group_keys;

// An empty prefix, to be filled again and again. It keeps the client that
// filled it last, also when it was released.
KVF_EXPORT kvf_status kvf_prefix_create(kvf_prefix** prefix);
KVF_EXPORT void kvf_prefix_destroy(kvf_prefix* prefix);
// Pins the longest cached prefix; what `prefix` held is released first. A miss
// is KVF_OK with 0 tokens.
KVF_EXPORT kvf_status kvf_match(kvf_client* client,
                                const kvf_group_keys* groups,
                                size_t group_count, kvf_prefix* prefix);
KVF_EXPORT uint64_t kvf_prefix_tokens(const kvf_prefix* prefix);
KVF_EXPORT uint32_t kvf_prefix_first_block(const kvf_prefix* prefix,
                                           uint32_t group);
KVF_EXPORT uint32_t kvf_prefix_block_count(const kvf_prefix* prefix,
                                           uint32_t group);
// Where the bytes of a pinned block, or of one to be written, lie.
typedef enum kvf_residence {
  KVF_RESIDENCE_NONE = 0,
  KVF_RESIDENCE_HOST = 1,
  KVF_RESIDENCE_GPU = 2
} kvf_residence;

// A kvf_residence: which one of a position is pinned, NONE for one that is not.
KVF_EXPORT uint32_t kvf_prefix_residence(const kvf_prefix* prefix,
                                         uint32_t position, uint32_t group);
// One page, read-only, until the prefix is released.
// Errors  KVF_OUT_OF_RANGE         not a pinned position, or no such slice
//         KVF_FAILED_PRECONDITION  it is pinned in a GPU
KVF_EXPORT kvf_status kvf_prefix_page(const kvf_prefix* prefix,
                                      uint32_t position, uint32_t slice,
                                      uint32_t group, kvf_bytes* page);
// Whether what was read so far can be trusted; KVF_ABORTED: it cannot.
KVF_EXPORT kvf_status kvf_prefix_check(const kvf_prefix* prefix);
KVF_EXPORT void kvf_prefix_release(kvf_prefix* prefix);

typedef enum kvf_lookup_answer {
  KVF_LOOKUP_NOTHING = 0,
  KVF_LOOKUP_HIT = 1,
  KVF_LOOKUP_ASK_AGAIN = 2
} kvf_lookup_answer;

typedef struct kvf_lookup_result {
  size_t size;
  uint64_t tokens;
  uint64_t coming_tokens;
  int64_t estimate_ns;  // below 0: it cannot be told
  uint32_t answer;      // kvf_lookup_answer
} kvf_lookup_result;

// What is there and what is coming; pins nothing.
KVF_EXPORT kvf_status kvf_lookup(kvf_client* client,
                                 const kvf_group_keys* groups,
                                 size_t group_count, kvf_lookup_result* result);

// --- an engine's paged memory (paged.h) --------------------------------------

// address(kv, block, token, head) = base + kv * kv_stride +
//     block * block_stride + token * token_stride + head * head_stride
typedef struct kvf_paged_layer {
  size_t size;
  void* base;
  int64_t kv_stride;
  int64_t block_stride;
  int64_t token_stride;
  int64_t head_stride;
} kvf_paged_layer;

enum {
  // The addresses are a device's. Calls that copy by the processor are refused
  // (KVF_FAILED_PRECONDITION); those of kvferry_gpu.h want it.
  KVF_PAGED_DEVICE = 1 << 0
};

typedef struct kvf_paged_options {
  size_t size;
  const kvf_group_spec* group;
  const kvf_paged_layer* layers;  // group->layer_count, all of one `size`
  size_t layer_count;
  uint64_t block_count;  // blocks of block_tokens that the memory has
  // The slices whose heads lie in this memory, one after the other.
  uint32_t slice_first;
  uint32_t slice_count;  // 0: all
  // Of how many parts of block_tokens / sub_blocks tokens a block is made; its
  // part s is the memory's block `block * sub_blocks + s`. 0: 1.
  uint32_t sub_blocks;
  uint32_t reserved;  // 0
  uint64_t flags;     // KVF_PAGED_*
} kvf_paged_options;

// An engine block that is skipped.
#define KVF_NO_BLOCK UINT64_MAX

KVF_EXPORT kvf_status kvf_paged_create(const kvf_paged_options* options,
                                       kvf_paged** paged);
KVF_EXPORT void kvf_paged_destroy(kvf_paged* paged);
// One page of `slice`. `valid_tokens` 0: all.
KVF_EXPORT kvf_status kvf_paged_gather(const kvf_paged* paged,
                                       uint64_t engine_block, uint32_t slice,
                                       void* page, size_t page_bytes,
                                       uint32_t valid_tokens);
KVF_EXPORT kvf_status kvf_paged_scatter(const kvf_paged* paged,
                                        uint64_t engine_block, uint32_t slice,
                                        const void* page, size_t page_bytes,
                                        uint32_t valid_tokens);
// Copies pinned blocks [first, first + count) into the engine's, all slices of
// `paged`, and checks them afterwards. `last_tokens`: valid tokens of the last.
// Errors  KVF_ABORTED  the pins were revoked: nothing copied may be used
KVF_EXPORT kvf_status kvf_prefix_copy_to(const kvf_prefix* prefix,
                                         uint32_t group, uint32_t first,
                                         size_t count, const kvf_paged* paged,
                                         const uint64_t* engine_blocks,
                                         uint32_t last_tokens);
// Copies the way this CPU is fastest at.
KVF_EXPORT void kvf_copy(void* target, const void* source, size_t bytes);

// --- publish (publish.h) -----------------------------------------------------

typedef enum kvf_block_outcome {
  KVF_BLOCK_WRITING = 0,
  KVF_BLOCK_COMMITTED = 1,
  KVF_BLOCK_EXISTS = 2,
  KVF_BLOCK_IN_FLIGHT = 3,
  KVF_BLOCK_NO_SPACE = 4,
  KVF_BLOCK_VOID = 5,
  KVF_BLOCK_STANDBY = 6
} kvf_block_outcome;

enum { KVF_PUBLISH_NO_STANDBY = 1 << 0 };

typedef struct kvf_publication_options {
  size_t size;
  uint64_t engine_instance;
  uint64_t publication;
  uint32_t slice_first;
  uint32_t slice_count;      // 0: all
  int64_t stall_timeout_ns;  // 0: 30 s
  uint64_t flags;            // KVF_PUBLISH_*
  uint32_t residence;        // KVF_RESIDENCE_GPU: into the pool of the device
                             // that the client opened; else host memory
  uint32_t reserved;         // 0
} kvf_publication_options;

// `options` may be null.
KVF_EXPORT kvf_status
kvf_publication_open(kvf_client* client, const kvf_publication_options* options,
                     kvf_publication** publication);
// Aborts what is not committed.
KVF_EXPORT void kvf_publication_destroy(kvf_publication* publication);
// Appends blocks; *first is the position of the first. `tail_tokens` 0: the
// last one is full.
KVF_EXPORT kvf_status kvf_publication_begin(
    kvf_publication* publication, uint32_t group, const kvf_key* parent,
    const kvf_key* keys, size_t key_count, uint32_t tail_tokens,
    int64_t timeout_ns, uint32_t* first);
KVF_EXPORT uint32_t kvf_publication_size(const kvf_publication* publication);
// One byte a block, a kvf_block_outcome.
KVF_EXPORT kvf_status kvf_publication_outcomes(kvf_publication* publication,
                                               uint32_t first, size_t count,
                                               uint8_t* outcomes);
// A kvf_residence: where a position that is to be written lies.
KVF_EXPORT uint32_t kvf_publication_residence(kvf_publication* publication,
                                              uint32_t position);
// A page to fill; *page is null when there is nothing to write, or its block is
// in a GPU.
KVF_EXPORT kvf_status kvf_publication_page(kvf_publication* publication,
                                           uint32_t position, uint32_t slice,
                                           void** page, size_t* page_bytes);
// Fills every page of [first, first + count) that is to be written, of the
// slices that both this publication writes and `paged` has, from the engine's
// blocks. *filled (may be null): blocks that were.
KVF_EXPORT kvf_status kvf_publication_fill(kvf_publication* publication,
                                           uint32_t first, size_t count,
                                           const kvf_paged* paged,
                                           const uint64_t* engine_blocks,
                                           uint32_t last_tokens,
                                           uint32_t* filled);
KVF_EXPORT kvf_status
kvf_publication_commit_layers(kvf_publication* publication, uint32_t first,
                              uint32_t count, uint32_t layers);
KVF_EXPORT kvf_status kvf_publication_commit(kvf_publication* publication,
                                             uint32_t first, uint32_t count);
KVF_EXPORT kvf_status
kvf_publication_commit_and_wait(kvf_publication* publication, uint32_t first,
                                uint32_t count, int64_t timeout_ns);
KVF_EXPORT kvf_status kvf_publication_set_hand_over(
    kvf_publication* publication, kvf_bytes hand_over);
KVF_EXPORT void kvf_publication_abort(kvf_publication* publication);
KVF_EXPORT kvf_status kvf_publication_close(kvf_publication* publication,
                                            int64_t timeout_ns);
// Copies whole blocks in and commits them. *visible (may be null): how many are
// visible now.
KVF_EXPORT kvf_status kvf_publish(kvf_client* client, uint32_t group,
                                  const kvf_key* parent, const kvf_key* keys,
                                  const void* const* sources, size_t count,
                                  int64_t timeout_ns, uint32_t* visible);

// --- follow what is being written (stream.h) ---------------------------------

enum { KVF_STREAM_READY_ONLY = 1 << 0 };

typedef struct kvf_stream_options {
  size_t size;
  uint64_t flags;  // KVF_STREAM_*
  uint32_t group;
  uint32_t tail_tokens;
  uint32_t hint_slot;  // kvf_ticket_content_info
  uint32_t hint_generation;
} kvf_stream_options;

typedef struct kvf_stream_state {
  size_t size;
  uint64_t ok_tokens;
  uint32_t ok_blocks;
  uint32_t layered_end;
  uint32_t ok_layers;
  uint32_t block_count;
  uint32_t key_count;
  uint32_t copied_blocks;
  uint32_t copied_layers;
  uint32_t done;
} kvf_stream_state;

typedef struct kvf_pull_options {
  size_t size;
  uint32_t slice_first;
  uint32_t slice_count;   // 0: all
  uint32_t whole_blocks;  // 1: do not copy layers of blocks that are not whole
  uint32_t reserved;      // 0
} kvf_pull_options;

// Takes layers [layer, layer + layers) of one page.
typedef void (*kvf_copy_out)(void* context, uint32_t block, uint32_t slice,
                             uint32_t layer, uint32_t layers, kvf_bytes bytes);

KVF_EXPORT kvf_status kvf_stream_create(kvf_stream** stream);
KVF_EXPORT void kvf_stream_destroy(kvf_stream* stream);
// `options` may be null.
KVF_EXPORT kvf_status kvf_match_stream(kvf_client* client, const kvf_key* keys,
                                       size_t key_count,
                                       const kvf_stream_options* options,
                                       kvf_stream* stream);
KVF_EXPORT kvf_status kvf_stream_get_state(const kvf_stream* stream,
                                           kvf_stream_state* state);
// How the stream fares: KVF_OK while all is well.
KVF_EXPORT kvf_status kvf_stream_status(const kvf_stream* stream);
// Null bytes when there is no such page.
KVF_EXPORT kvf_status kvf_stream_page(const kvf_stream* stream, uint32_t block,
                                      uint32_t slice, kvf_bytes* page);
// 1 when anything changed.
KVF_EXPORT int kvf_stream_poll(kvf_stream* stream);
KVF_EXPORT kvf_status kvf_stream_wait_chunk(kvf_stream* stream, uint32_t blocks,
                                            int64_t timeout_ns);
KVF_EXPORT kvf_status kvf_stream_wait_layer(kvf_stream* stream, uint32_t blocks,
                                            uint32_t layers,
                                            int64_t timeout_ns);
KVF_EXPORT kvf_status kvf_stream_wait_committed(kvf_stream* stream,
                                                int64_t timeout_ns);
KVF_EXPORT kvf_status kvf_stream_wait_change(kvf_stream* stream,
                                             int64_t timeout_ns);
// The stream's.
KVF_EXPORT kvf_status kvf_stream_event_fd(kvf_stream* stream, int* fd);
KVF_EXPORT uint32_t kvf_stream_confirm(kvf_stream* stream, uint32_t blocks);
// *copied (may be null): 1 when anything was. `options` may be null.
KVF_EXPORT kvf_status kvf_stream_pull_some(kvf_stream* stream,
                                           const kvf_pull_options* options,
                                           kvf_copy_out copy, void* context,
                                           int* copied);
KVF_EXPORT kvf_status kvf_stream_pull_to(kvf_stream* stream,
                                         const kvf_pull_options* options,
                                         kvf_copy_out copy, void* context,
                                         int64_t timeout_ns);
// The same into the engine's blocks, one for each key of the stream.
KVF_EXPORT kvf_status kvf_stream_pull_to_paged(kvf_stream* stream,
                                               const kvf_pull_options* options,
                                               const kvf_paged* paged,
                                               const uint64_t* engine_blocks,
                                               int64_t timeout_ns);
// *length is what there is; no more than `capacity` bytes are written.
// Errors  KVF_OUT_OF_RANGE  capacity is too small; KVF_NOT_FOUND  there is none
KVF_EXPORT kvf_status kvf_stream_hand_over(const kvf_stream* stream, void* data,
                                           size_t capacity, size_t* length);
KVF_EXPORT void kvf_stream_release(kvf_stream* stream);

// --- tickets (ticket.h) ------------------------------------------------------

#define KVF_TICKET_BYTES_MAX 256
#define KVF_TICKET_TEXT_MAX 512  // with its NUL

typedef struct kvf_ticket {
  uint32_t length;
  uint8_t bytes[KVF_TICKET_BYTES_MAX];
} kvf_ticket;

typedef struct kvf_ticket_options {
  size_t size;
  uint32_t consumers;  // 0: 1
  uint32_t tail_tokens;
  int64_t ttl_ns;  // 0: 60 s
  kvf_bytes hand_over;
} kvf_ticket_options;

typedef struct kvf_ticket_content_info {
  size_t size;
  // The content's.
  const kvf_key* keys;
  size_t key_count;
  kvf_bytes hand_over;
  uint32_t group;
  uint32_t tail_tokens;
  uint32_t hint_slot;
  uint32_t hint_generation;
} kvf_ticket_content_info;

// `publication` may be null, `options` too.
KVF_EXPORT kvf_status kvf_ticket_mint(kvf_client* client,
                                      const kvf_publication* publication,
                                      uint32_t group, const kvf_key* keys,
                                      size_t key_count,
                                      const kvf_ticket_options* options,
                                      kvf_ticket* ticket);
KVF_EXPORT kvf_status kvf_ticket_redeem(kvf_client* client,
                                        const kvf_ticket* ticket,
                                        kvf_ticket_content** content);
KVF_EXPORT void kvf_ticket_content_destroy(kvf_ticket_content* content);
KVF_EXPORT kvf_status kvf_ticket_content_get(const kvf_ticket_content* content,
                                             kvf_ticket_content_info* info);
KVF_EXPORT kvf_status kvf_ticket_release(kvf_client* client,
                                         const kvf_ticket* ticket);
// `text` has room for KVF_TICKET_TEXT_MAX bytes.
KVF_EXPORT kvf_status kvf_ticket_to_text(const kvf_ticket* ticket, char* text);
KVF_EXPORT kvf_status kvf_ticket_from_text(const char* text,
                                           kvf_ticket* ticket);

#if defined(__cplusplus)
}
#endif

#endif  // KVFERRY_KVFERRY_H_
