/* A program that was built against an older header than the library's: its
   structs are shorter, and nothing may be read or written beyond their ends. */

#include "program.h"

enum {
  COUNT = 4,
  BLOCK_TOKENS = 16,
  PAGE_BYTES = 4096,
  ENGINE_BLOCKS = 4,
  GUARD = 0x5a
};

/* Options lie before bytes that would be nonsense in the fields that came
   later, results before bytes that must stay. */
#define GUARDED(type)         \
  struct {                    \
    unsigned char before[64]; \
    type value;               \
    unsigned char after[128]; \
  }
#define MAKE_GUARDED(name)                      \
  do {                                          \
    memset(&name, GUARD, sizeof(name));         \
    memset(&name.value, 0, sizeof(name.value)); \
    name.value.size = sizeof(name.value);       \
  } while (0)
#define CHECK_GUARDED(name, type)                       \
  do {                                                  \
    CHECK(all_guard(name.before, sizeof(name.before))); \
    CHECK(all_guard(name.after, sizeof(name.after)));   \
    CHECK(name.value.size == sizeof(type));             \
  } while (0)

static int all_guard(const unsigned char* bytes, size_t count) {
  size_t i;
  for (i = 0; i < count; ++i) {
    if (bytes[i] != GUARD) return 0;
  }
  return 1;
}

static GUARDED(kvf_group_spec) group;
static GUARDED(kvf_attach_options) attach;
static GUARDED(kvf_namespace_info) info;
static GUARDED(kvf_lookup_result) lookup;
static GUARDED(kvf_publication_options) publish;
static GUARDED(kvf_stream_options) follow;
static GUARDED(kvf_stream_state) state;
static GUARDED(kvf_pull_options) pull;
static GUARDED(kvf_paged_options) paged_options;
static GUARDED(kvf_ticket_options) mint;
static GUARDED(kvf_ticket_content_info) content_info;

static kvf_client* attach_as_older(const char* socket_path) {
  kvf_namespace_spec spec;
  kvf_client* client = NULL;
  memset(&spec, 0, sizeof(spec));
  spec.size = sizeof(spec);
  spec.name = "older";
  spec.model = "m";
  spec.groups = &group.value;
  spec.group_count = 1;
  MAKE_GUARDED(group);
  group.value.name = "full";
  group.value.block_tokens = BLOCK_TOKENS;
  group.value.layer_count = 1;
  group.value.kv_count = 1;
  group.value.head_count = 1;
  group.value.head_bytes = PAGE_BYTES / BLOCK_TOKENS;
  group.value.slice_count = 1;
  MAKE_GUARDED(attach);
  attach.value.socket_path = socket_path;
  attach.value.spec = &spec;
  CHECK_OK(kvf_client_attach(&attach.value, &client));
  return client;
}

static void check_results(kvf_client* client) {
  MAKE_GUARDED(info);
  CHECK_OK(kvf_client_info(client, &info.value));
  CHECK(strcmp(info.value.name, "older") == 0 && info.value.epoch != 0);
  CHECK(info.value.salt[0] != 0 || info.value.salt[1] != 0);
  CHECK_GUARDED(info, kvf_namespace_info);
  MAKE_GUARDED(group);
  CHECK_OK(kvf_client_group(client, 0, &group.value));
  CHECK(group.value.block_tokens == BLOCK_TOKENS);
  CHECK(group.value.slice_count == 1);
  CHECK_GUARDED(group, kvf_group_spec);
}

static void publish_page(kvf_publication* publication, uint32_t position) {
  void* page = NULL;
  size_t bytes = 0;
  CHECK_OK(kvf_publication_page(publication, position, 0, &page, &bytes));
  CHECK(page != NULL && bytes == PAGE_BYTES);
  memset(page, (int)position + 1, bytes);
}

static void copy_out(void* context, uint32_t block, uint32_t slice,
                     uint32_t layer, uint32_t layers, kvf_bytes bytes) {
  unsigned char* const pages = context;
  CHECK(slice == 0 && layer == 0 && layers == 1);
  memcpy(pages + block * PAGE_BYTES, bytes.data, bytes.length);
}

static void check_stream(kvf_client* client, const kvf_key* keys) {
  static unsigned char pages[COUNT * PAGE_BYTES];
  kvf_stream* stream = NULL;
  uint32_t i;
  CHECK_OK(kvf_stream_create(&stream));
  MAKE_GUARDED(follow);
  CHECK_OK(kvf_match_stream(client, keys, COUNT, &follow.value, stream));
  MAKE_GUARDED(pull);
  CHECK_OK(
      kvf_stream_pull_to(stream, &pull.value, copy_out, pages, 5 * SECOND));
  for (i = 0; i < COUNT; ++i) CHECK(pages[i * PAGE_BYTES + 7] == i + 1);
  MAKE_GUARDED(state);
  CHECK_OK(kvf_stream_get_state(stream, &state.value));
  CHECK(state.value.ok_tokens == COUNT * BLOCK_TOKENS);
  CHECK_GUARDED(state, kvf_stream_state);
  kvf_stream_destroy(stream);
}

static void check_ticket(kvf_client* client, const kvf_key* keys) {
  kvf_ticket ticket;
  kvf_ticket_content* content = NULL;
  MAKE_GUARDED(mint);
  mint.value.ttl_ns = 10 * SECOND;
  CHECK_OK(kvf_ticket_mint(client, NULL, 0, keys, COUNT, &mint.value, &ticket));
  CHECK_OK(kvf_ticket_redeem(client, &ticket, &content));
  MAKE_GUARDED(content_info);
  CHECK_OK(kvf_ticket_content_get(content, &content_info.value));
  CHECK(content_info.value.key_count == COUNT);
  CHECK(memcmp(content_info.value.keys, keys, COUNT * sizeof(*keys)) == 0);
  CHECK_GUARDED(content_info, kvf_ticket_content_info);
  kvf_ticket_content_destroy(content);
}

static void check_paged(const kvf_prefix* prefix) {
  static unsigned char memory[ENGINE_BLOCKS * PAGE_BYTES];
  static const uint64_t blocks[COUNT] = {3, 2, 1, 0};
  kvf_paged* paged = NULL;
  kvf_paged_layer layer;
  uint32_t i;
  memset(&layer, 0, sizeof(layer));
  layer.size = sizeof(layer);
  layer.base = memory;
  layer.block_stride = PAGE_BYTES;
  layer.token_stride = PAGE_BYTES / BLOCK_TOKENS;
  layer.head_stride = PAGE_BYTES / BLOCK_TOKENS;
  MAKE_GUARDED(paged_options);
  paged_options.value.group = &group.value;
  paged_options.value.layers = &layer;
  paged_options.value.layer_count = 1;
  paged_options.value.block_count = ENGINE_BLOCKS;
  CHECK_OK(kvf_paged_create(&paged_options.value, &paged));
  CHECK_OK(kvf_prefix_copy_to(prefix, 0, 0, COUNT, paged, blocks, 0));
  for (i = 0; i < COUNT; ++i) {
    CHECK(memory[blocks[i] * PAGE_BYTES + 9] == i + 1);
  }
  kvf_paged_destroy(paged);
}

static void run_older(const char* socket_path) {
  kvf_client* const client = attach_as_older(socket_path);
  kvf_publication* publication = NULL;
  kvf_prefix* prefix = NULL;
  kvf_key keys[COUNT];
  kvf_group_keys names;
  kvf_bytes page = {NULL, 0};
  uint32_t first = 0;
  uint32_t i;

  CHECK(kvf_abi_version() == KVF_ABI_VERSION);
  check_results(client);
  for (i = 0; i < COUNT; ++i) {
    keys[i].lo = i + 1;
    keys[i].hi = UINT64_C(0x9e3779b97f4a7c15) * (i + 1);
  }
  MAKE_GUARDED(publish);
  CHECK_OK(kvf_publication_open(client, &publish.value, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, keys, COUNT, 0,
                                 5 * SECOND, &first));
  for (i = 0; i < COUNT; ++i) publish_page(publication, i);
  CHECK_OK(kvf_publication_commit_and_wait(publication, 0, COUNT, 5 * SECOND));
  kvf_publication_destroy(publication);

  memset(&names, 0, sizeof(names));
  names.size = sizeof(names);
  names.keys = keys;
  names.key_count = COUNT;
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == COUNT * BLOCK_TOKENS);
  CHECK_OK(kvf_prefix_page(prefix, 2, 0, 0, &page));
  CHECK(((const unsigned char*)page.data)[100] == 3);
  MAKE_GUARDED(lookup);
  CHECK_OK(kvf_lookup(client, &names, 1, &lookup.value));
  CHECK(lookup.value.tokens == COUNT * BLOCK_TOKENS);
  CHECK_GUARDED(lookup, kvf_lookup_result);
  check_stream(client, keys);
  check_ticket(client, keys);
  check_paged(prefix);
  kvf_prefix_destroy(prefix);
  kvf_client_close(client);
}

int main(int argc, char** argv) {
  static const scenario scenarios[] = {{"older", run_older}};
  return run_scenario(argc, argv, scenarios, 1);
}
