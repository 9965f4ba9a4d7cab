/* A program that was built against a newer header than the library's: each
   struct has two words more (newer_header.cmake). While they are zero nothing
   is different; what they ask for otherwise is refused, never ignored. */

#include "kvferry/kvferry_admin.h"
#include "kvferry/kvferry_gpu.h"
#include "program.h"

enum { BLOCK_TOKENS = 16, PAGE_BYTES = 4096, GUARD = 0x5a };

/* What the caller calls newer and leaves out is zero; what the library does
   not know it says so of. */
#define CHECK_NEWER(call, name, member)                        \
  do {                                                         \
    CHECK_OK(call);                                            \
    name.later[1] = 1;                                         \
    CHECK_FAILS(call, KVF_UNIMPLEMENTED, #member ".size is "); \
    CHECK_FAILS(call, KVF_UNIMPLEMENTED, "is not zero");       \
    name.later[1] = 0;                                         \
  } while (0)

static kvf_group_spec group = {.size = sizeof(group),
                               .name = "full",
                               .block_tokens = BLOCK_TOKENS,
                               .layer_count = 1,
                               .kv_count = 1,
                               .head_count = 1,
                               .head_bytes = PAGE_BYTES / BLOCK_TOKENS,
                               .slice_count = 1};
static kvf_namespace_spec spec = {
    .size = sizeof(spec), .name = "newer", .groups = &group, .group_count = 1};
static kvf_attach_options attach = {.size = sizeof(attach), .spec = &spec};

static kvf_status try_attach(void) {
  kvf_client* client = NULL;
  const kvf_status status = kvf_client_attach(&attach, &client);
  CHECK((client != NULL) == (status == KVF_OK));
  kvf_client_close(client);
  return status;
}

static kvf_status try_open(kvf_client* client,
                           const kvf_publication_options* options) {
  kvf_publication* publication = NULL;
  const kvf_status status = kvf_publication_open(client, options, &publication);
  kvf_publication_destroy(publication);
  return status;
}

static void check_options(kvf_client* client) {
  static uint8_t memory[PAGE_BYTES];
  static uint8_t page[PAGE_BYTES];
  kvf_key key = {1, 2};
  const void* source = page;
  kvf_group_keys names = {.size = sizeof(names), .keys = &key, .key_count = 1};
  kvf_publication_options publish = {.size = sizeof(publish)};
  kvf_stream_options follow = {.size = sizeof(follow)};
  kvf_pull_options pull = {.size = sizeof(pull)};
  kvf_ticket_options mint = {.size = sizeof(mint)};
  kvf_paged_layer layer = {.size = sizeof(layer),
                           .base = memory,
                           .block_stride = PAGE_BYTES,
                           .token_stride = PAGE_BYTES / BLOCK_TOKENS};
  kvf_paged_options paged_options = {.size = sizeof(paged_options),
                                     .group = &group,
                                     .layers = &layer,
                                     .layer_count = 1,
                                     .block_count = 1};
  kvf_prefix* prefix = NULL;
  kvf_stream* stream = NULL;
  kvf_paged* paged = NULL;
  kvf_ticket ticket;
  const uint64_t blocks[1] = {0};

  memset(page, 42, sizeof(page));
  CHECK_NEWER(try_open(client, &publish), publish, kvf_publication_options);
  CHECK_OK(kvf_publish(client, 0, NULL, &key, &source, 1, 5 * SECOND, NULL));
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_NEWER(kvf_match(client, &names, 1, prefix), names, kvf_group_keys);
  CHECK(kvf_prefix_tokens(prefix) == 0);
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == BLOCK_TOKENS);

  CHECK_OK(kvf_stream_create(&stream));
  CHECK_NEWER(kvf_match_stream(client, &key, 1, &follow, stream), follow,
              kvf_stream_options);
  CHECK_OK(kvf_paged_create(&paged_options, &paged));
  CHECK_NEWER(
      kvf_stream_pull_to_paged(stream, &pull, paged, blocks, 5 * SECOND), pull,
      kvf_pull_options);
  CHECK(memory[1000] == 42);
  kvf_paged_destroy(paged);
  layer.later[1] = 1;
  CHECK_FAILS(kvf_paged_create(&paged_options, &paged), KVF_UNIMPLEMENTED,
              "kvf_paged_layer.size");
  layer.later[1] = 0;
  paged_options.later[0] = 1;
  CHECK_FAILS(kvf_paged_create(&paged_options, &paged), KVF_UNIMPLEMENTED,
              "kvf_paged_options.size");
  CHECK_NEWER(kvf_ticket_mint(client, NULL, 0, &key, 1, &mint, &ticket), mint,
              kvf_ticket_options);
  kvf_stream_destroy(stream);
  kvf_prefix_destroy(prefix);
}

static kvf_status try_open_gpu(kvf_client* client,
                               const kvf_gpu_options* options) {
  kvf_gpu* gpu = NULL;
  const kvf_status status = kvf_gpu_open(client, options, &gpu);
  CHECK((gpu != NULL) == (status == KVF_OK));
  kvf_gpu_close(gpu);
  return status;
}

/* A call that ends with a transfer, which is waited for. */
static kvf_status end(kvf_status status, kvf_transfer** transfer) {
  CHECK((*transfer != NULL) == (status == KVF_OK));
  if (status == KVF_OK) CHECK_OK(kvf_transfer_wait(*transfer, 10 * SECOND));
  kvf_transfer_destroy(*transfer);
  *transfer = NULL;
  return status;
}

static void check_gpu(kvf_client* client) {
  static uint8_t memory[PAGE_BYTES];
  static const uint64_t places[1] = {0};
  const kvf_key old_key = {1, 2};
  const kvf_key new_key = {3, 4};
  const kvf_group_keys names = {
      .size = sizeof(names), .keys = &old_key, .key_count = 1};
  const kvf_paged_layer layer = {.size = sizeof(layer),
                                 .base = memory,
                                 .block_stride = PAGE_BYTES,
                                 .token_stride = PAGE_BYTES / BLOCK_TOKENS};
  const kvf_paged_options paged_options = {.size = sizeof(paged_options),
                                           .group = &group,
                                           .layers = &layer,
                                           .layer_count = 1,
                                           .block_count = 1,
                                           .flags = KVF_PAGED_DEVICE};
  kvf_gpu_options open = {.size = sizeof(open), .device = "emulated:0"};
  kvf_gpu_pull_options pull = {.size = sizeof(pull)};
  kvf_gpu_publish_options publish = {.size = sizeof(publish)};
  kvf_gpu_blocks blocks = {
      .size = sizeof(blocks), .engine_blocks = places, .count = 1};
  kvf_paged* paged = NULL;
  kvf_prefix* prefix = NULL;
  kvf_publication* publication = NULL;
  kvf_transfer* transfer = NULL;
  kvf_gpu* gpu = NULL;
  kvf_gpu_info info = {.size = sizeof(info)};
  uint32_t first = 0;

  CHECK_NEWER(try_open_gpu(client, &open), open, kvf_gpu_options);
  CHECK_OK(kvf_gpu_open(client, &open, &gpu));
  memset(info.later, GUARD, sizeof(info.later));
  CHECK_OK(kvf_gpu_get_info(gpu, &info));
  CHECK(info.emulated == 1 && info.later[0] == 0 && info.later[1] == 0);
  /* The daemon serves no device: blocks are the host's. */
  CHECK(info.has_pool == 0 && kvf_gpu_check_pool(gpu) != KVF_OK);
  CHECK_OK(kvf_paged_create(&paged_options, &paged));
  blocks.paged = paged;

  CHECK_OK(kvf_prefix_create(&prefix));
#define PULL()                                                        \
  (kvf_match(client, &names, 1, prefix),                              \
   end(kvf_gpu_pull(gpu, prefix, &blocks, 1, NULL, &pull, &transfer), \
       &transfer))
  CHECK_NEWER(PULL(), pull, kvf_gpu_pull_options);
  CHECK_NEWER(PULL(), blocks, kvf_gpu_blocks);
  CHECK(memory[1000] == 42);
  CHECK_OK(kvf_publication_open(client, NULL, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, &new_key, 1, 0,
                                 5 * SECOND, &first));
  CHECK_NEWER(
      end(kvf_gpu_publish(gpu, publication, &blocks, NULL, &publish, &transfer),
          &transfer),
      publish, kvf_gpu_publish_options);
  kvf_publication_destroy(publication);
  kvf_prefix_destroy(prefix);
  kvf_paged_destroy(paged);
  kvf_gpu_close(gpu);
}

/* Filled to the library's end, zeroed to the caller's, and no further. */
#define CHECK_RESULT(type, call, field)                              \
  do {                                                               \
    struct {                                                         \
      type value;                                                    \
      unsigned char after[64];                                       \
    } result;                                                        \
    size_t at;                                                       \
    memset(&result, GUARD, sizeof(result));                          \
    result.value.size = sizeof(result.value);                        \
    CHECK_OK(call(&result.value));                                   \
    CHECK(result.value.size == sizeof(result.value));                \
    CHECK(result.value.field != 0);                                  \
    CHECK(result.value.later[0] == 0 && result.value.later[1] == 0); \
    for (at = 0; at < sizeof(result.after); ++at) {                  \
      CHECK(result.after[at] == GUARD);                              \
    }                                                                \
  } while (0)

static void check_results(kvf_client* client, const char* socket_path) {
  kvf_admin* admin = NULL;
  kvf_admin_list* list = NULL;
  const kvf_key key = {1, 2};
  const kvf_group_keys names = {
      .size = sizeof(names), .keys = &key, .key_count = 1};
#define CLIENT_INFO(out) kvf_client_info(client, out)
#define CLIENT_GROUP(out) kvf_client_group(client, 0, out)
#define LOOKUP(out) kvf_lookup(client, &names, 1, out)
#define STATUS(out) kvf_admin_status(admin, out)
#define LIST_NAMESPACE(out) kvf_admin_list_namespace(list, 0, out)
#define LIST_GROUP(out) kvf_admin_list_group(list, 0, 0, NULL, out)
#define LIST_SESSION(out) kvf_admin_list_session(list, 0, out)
#define LIST_BLOCK(out) kvf_admin_list_block(list, 0, out)
  CHECK_RESULT(kvf_namespace_info, CLIENT_INFO, epoch);
  CHECK_RESULT(kvf_group_spec, CLIENT_GROUP, head_bytes);
  CHECK_RESULT(kvf_lookup_result, LOOKUP, answer);
  CHECK_OK(kvf_admin_connect(socket_path, 5 * SECOND, &admin));
  CHECK_RESULT(kvf_daemon_status, STATUS, pid);
  CHECK_OK(kvf_admin_namespaces(admin, &list));
  CHECK_RESULT(kvf_namespace_status, LIST_NAMESPACE, group_count);
  CHECK_RESULT(kvf_group_status, LIST_GROUP, ready);
  kvf_admin_list_destroy(list);
  CHECK_OK(kvf_admin_sessions(admin, &list));
  CHECK_RESULT(kvf_session_info, LIST_SESSION, pid);
  kvf_admin_list_destroy(list);
  CHECK_OK(kvf_admin_blocks(admin, "newer", NULL, 1, &list));
  CHECK_RESULT(kvf_block_info, LIST_BLOCK, bytes);
  kvf_admin_list_destroy(list);
  kvf_admin_close(admin);
}

static void run_newer(const char* socket_path) {
  kvf_client* client = NULL;
  attach.socket_path = socket_path;
  CHECK_NEWER(try_attach(), attach, kvf_attach_options);
  CHECK_NEWER(try_attach(), spec, kvf_namespace_spec);
  CHECK_NEWER(try_attach(), group, kvf_group_spec);
  CHECK_OK(kvf_client_attach(&attach, &client));
  check_options(client);
  check_gpu(client);
  check_results(client, socket_path);
  kvf_client_close(client);
}

int main(int argc, char** argv) {
  static const scenario scenarios[] = {{"newer", run_newer}};
  return run_scenario(argc, argv, scenarios, 1);
}
