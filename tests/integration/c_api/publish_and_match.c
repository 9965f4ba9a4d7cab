/* What one client publishes another finds, pins and reads. */

#include "current_program.h"
#include "program.h"

enum { COUNT = 6 };

static void check_info(const kvf_client* client) {
  kvf_namespace_info info = {.size = sizeof(info)};
  kvf_group_spec group = {.size = sizeof(group)};
  kvf_hasher* hasher = NULL;
  CHECK_OK(kvf_client_info(client, &info));
  CHECK(strcmp(info.name, "match") == 0);
  CHECK(strcmp(info.model, "a model") == 0);
  CHECK(strcmp(info.revision, "7") == 0);
  CHECK(strcmp(info.dtype, "bf16") == 0);
  CHECK(info.group_count == 1 && info.connected == 1 && info.epoch != 0);
  CHECK(info.block_capacity > 0 && info.quota_bytes > 0);
  CHECK(kvf_client_connected(client) == 1);
  CHECK_OK(kvf_client_group(client, 0, &group));
  CHECK(strcmp(group.name, "full") == 0);
  CHECK(group.block_tokens == BLOCK_TOKENS && group.slice_count == SLICES);
  CHECK(group.head_bytes == HEAD_BYTES && group.rule == KVF_HIT_ALL_PREFIX);
  CHECK_FAILS(kvf_client_group(client, 1, &group), KVF_OUT_OF_RANGE,
              "group 1, the namespace has 1");
  CHECK_FAILS(kvf_hasher_create(client, 1, &hasher), KVF_OUT_OF_RANGE,
              "group 1, the namespace has 1");
  CHECK(hasher == NULL);
}

static void check_pages(const kvf_prefix* prefix, uint32_t count) {
  uint8_t expected[BLOCK_BYTES];
  uint32_t i, slice;
  for (i = 0; i < count; ++i) {
    fill_block(expected, sizeof(expected), i);
    for (slice = 0; slice < SLICES; ++slice) {
      kvf_bytes page = {NULL, 0};
      CHECK_OK(kvf_prefix_page(prefix, i, slice, 0, &page));
      CHECK(page.length == PAGE_BYTES);
      CHECK(memcmp(page.data, expected + slice * PAGE_BYTES, PAGE_BYTES) == 0);
    }
  }
}

static void check_lookup(kvf_client* client, const kvf_group_keys* group,
                         uint32_t answer, uint64_t tokens) {
  kvf_lookup_result result = {.size = sizeof(result)};
  CHECK_OK(kvf_lookup(client, group, 1, &result));
  CHECK(result.answer == answer);
  CHECK(result.tokens == tokens && result.coming_tokens >= tokens);
  CHECK(answer == KVF_LOOKUP_ASK_AGAIN || result.estimate_ns == 0);
}

void run_publish_and_match(const char* socket_path) {
  kvf_client* const writer = attach(socket_path, "match", 0);
  kvf_client* const reader =
      attach(socket_path, "match", KVF_ATTACH_READ_ONLY | KVF_ATTACH_NO_CREATE);
  kvf_key keys[COUNT];
  kvf_group_keys group = {
      .size = sizeof(group), .keys = keys, .key_count = COUNT, .group = 0};
  kvf_prefix* prefix = NULL;
  kvf_bytes page = {NULL, 0};
  uint64_t epoch = 0;

  check_info(reader);
  make_keys(writer, 1, COUNT, keys);
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(reader, &group, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == 0);
  check_lookup(reader, &group, KVF_LOOKUP_NOTHING, 0);

  /* The last block is left out. */
  publish_blocks(writer, keys, COUNT - 1, 0);
  CHECK_OK(kvf_match(reader, &group, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == (COUNT - 1) * BLOCK_TOKENS);
  CHECK(kvf_prefix_first_block(prefix, 0) == 0);
  CHECK(kvf_prefix_block_count(prefix, 0) == COUNT - 1);
  check_pages(prefix, COUNT - 1);
  CHECK_OK(kvf_prefix_check(prefix));
  check_lookup(reader, &group, KVF_LOOKUP_HIT, (COUNT - 1) * BLOCK_TOKENS);
  CHECK_FAILS(kvf_prefix_page(prefix, COUNT - 1, 0, 0, &page), KVF_OUT_OF_RANGE,
              "position 5, slice 0 of group 0");
  CHECK_FAILS(kvf_prefix_page(prefix, 0, SLICES, 0, &page), KVF_OUT_OF_RANGE,
              "slice 2");
  CHECK_FAILS(kvf_prefix_page(prefix, 0, 0, 1, &page), KVF_OUT_OF_RANGE,
              "group 1");
  CHECK(page.data == NULL);

  /* Into the same object, and through the way for several groups. */
  group.tail_tokens = 3;
  group.key_count = COUNT - 1;
  CHECK_OK(kvf_match(reader, &group, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == (COUNT - 2) * BLOCK_TOKENS + 3);
  group.tail_tokens = 0;
  kvf_prefix_release(prefix);
  CHECK(kvf_prefix_tokens(prefix) == 0);

  /* New weights. */
  CHECK_FAILS(kvf_client_clear(reader, 5 * SECOND, NULL), KVF_PERMISSION_DENIED,
              "");
  CHECK_OK(kvf_client_clear(writer, 5 * SECOND, &epoch));
  CHECK(epoch != 0);
  CHECK_OK(kvf_match(reader, &group, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == 0);

  kvf_prefix_destroy(prefix);
  kvf_client_close(reader);
  kvf_client_close(writer);
}
