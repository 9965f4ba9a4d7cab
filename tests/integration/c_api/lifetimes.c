/* What a client made stays when the client is closed first. */

#include <time.h>

#include "current_program.h"
#include "kvferry/kvferry_admin.h"
#include "program.h"

enum { COUNT = 3 };

static uint32_t sessions(kvf_admin* admin) {
  kvf_daemon_status status = {.size = sizeof(status)};
  CHECK_OK(kvf_admin_status(admin, &status));
  return status.session_count;
}

void run_lifetimes(const char* socket_path) {
  kvf_client* const client = attach(socket_path, "lifetimes", 0);
  kvf_publication* publication = NULL;
  kvf_prefix* prefix = NULL;
  kvf_stream* stream = NULL;
  kvf_hasher* hasher = NULL;
  kvf_admin* admin = NULL;
  kvf_key keys[2 * COUNT];
  const kvf_group_keys group = {
      .size = sizeof(group), .keys = keys, .key_count = COUNT};
  const kvf_bytes extra = {NULL, 0};
  uint32_t tokens[BLOCK_TOKENS] = {0};
  uint8_t expected[BLOCK_BYTES];
  kvf_bytes page = {NULL, 0};
  kvf_key key;
  uint32_t first = 0;
  uint32_t i;

  make_keys(client, 8, 2 * COUNT, keys);
  publish_blocks(client, keys, COUNT, 0);
  CHECK_OK(kvf_admin_connect(socket_path, 5 * SECOND, &admin));
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &group, 1, prefix));
  CHECK_OK(kvf_publication_open(client, NULL, &publication));
  CHECK_OK(kvf_stream_create(&stream));
  CHECK_OK(kvf_match_stream(client, keys, COUNT, NULL, stream));
  CHECK_OK(kvf_hasher_create(client, 0, &hasher));

  kvf_client_close(client);
  CHECK(sessions(admin) == 1);

  CHECK(kvf_prefix_tokens(prefix) == COUNT * BLOCK_TOKENS);
  fill_block(expected, sizeof(expected), 2);
  CHECK_OK(kvf_prefix_page(prefix, 2, 0, 0, &page));
  CHECK(memcmp(page.data, expected, PAGE_BYTES) == 0);
  CHECK_OK(kvf_prefix_check(prefix));
  CHECK_OK(kvf_stream_wait_committed(stream, 5 * SECOND));
  CHECK_OK(
      kvf_hasher_hash_block(hasher, NULL, tokens, BLOCK_TOKENS, extra, &key));
  CHECK_OK(kvf_publication_begin(publication, 0, &keys[COUNT - 1], keys + COUNT,
                                 COUNT, 0, 5 * SECOND, &first));
  for (i = 0; i < COUNT; ++i) {
    void* target = NULL;
    size_t bytes = 0;
    CHECK_OK(kvf_publication_page(publication, i, 1, &target, &bytes));
    CHECK(target != NULL);
    memset(target, 1, bytes);
  }
  CHECK_OK(kvf_publication_commit_and_wait(publication, 0, COUNT, 5 * SECOND));

  /* In any order; the session ends with the last. */
  kvf_stream_destroy(stream);
  kvf_publication_destroy(publication);
  CHECK(sessions(admin) == 1);
  kvf_prefix_destroy(prefix);
  /* The orderly end is a message of its own, which the daemon has by then. */
  {
    const time_t start = time(NULL);
    while (sessions(admin) != 0) CHECK(time(NULL) - start < 10);
  }
  kvf_hasher_destroy(hasher);
  kvf_admin_close(admin);
}
