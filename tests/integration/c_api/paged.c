/* From one engine's paged memory into another's, of another layout. */

#include "current_program.h"
#include "engine.h"
#include "program.h"

enum { COUNT = 4 };

void run_paged(const char* socket_path) {
  static engine source, target, streamed;
  static const uint64_t from[COUNT] = {5, 0, 7, 2};
  static const uint64_t to[COUNT] = {1, 6, KVF_NO_BLOCK, 3};
  static const uint64_t all[COUNT] = {0, 1, 2, 3};
  kvf_client* const client = attach(socket_path, "paged", 0);
  kvf_publication* publication = NULL;
  kvf_prefix* prefix = NULL;
  kvf_stream* stream = NULL;
  kvf_key keys[COUNT];
  const kvf_group_keys group = {
      .size = sizeof(group), .keys = keys, .key_count = COUNT};
  uint32_t first = 0;
  uint32_t filled = 0;
  int i;

  make_engine(&source, 0, 0);
  make_engine(&target, 1, 0);
  make_engine(&streamed, 0, 0);
  fill_engine(&source, 0);

  make_keys(client, 6, COUNT, keys);
  CHECK_OK(kvf_publication_open(client, NULL, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, keys, COUNT, 0,
                                 5 * SECOND, &first));
  wait_until_coming(client, keys, COUNT);
  CHECK_OK(kvf_stream_create(&stream));
  CHECK_OK(kvf_match_stream(client, keys, COUNT, NULL, stream));
  CHECK_OK(kvf_publication_fill(publication, first, COUNT, source.paged, from,
                                0, &filled));
  CHECK(filled == COUNT);
  CHECK_OK(
      kvf_publication_commit_and_wait(publication, first, COUNT, 5 * SECOND));

  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &group, 1, prefix));
  CHECK(kvf_prefix_block_count(prefix, 0) == COUNT);
  CHECK_OK(kvf_prefix_copy_to(prefix, 0, 0, COUNT, target.paged, to, 5));
  CHECK(same_block(&source, from[0], &target, to[0], BLOCK_TOKENS));
  CHECK(same_block(&source, from[1], &target, to[1], BLOCK_TOKENS));
  CHECK(same_block(&source, from[3], &target, to[3], 5));
  CHECK(!same_block(&source, from[3], &target, to[3], BLOCK_TOKENS));

  CHECK_OK(
      kvf_stream_pull_to_paged(stream, NULL, streamed.paged, all, 5 * SECOND));
  for (i = 0; i < COUNT; ++i) {
    CHECK(same_block(&source, from[i], &streamed, all[i], BLOCK_TOKENS));
  }

  CHECK_CODE(kvf_prefix_copy_to(prefix, 0, 1, COUNT, target.paged, to, 0),
             KVF_INVALID_ARGUMENT);
  {
    const uint64_t beyond[1] = {ENGINE_BLOCKS};
    CHECK_CODE(kvf_prefix_copy_to(prefix, 0, 0, 1, target.paged, beyond, 0),
               KVF_INVALID_ARGUMENT);
    CHECK_FAILS(kvf_prefix_copy_to(prefix, 0, 0, 1, target.paged, NULL, 0),
                KVF_INVALID_ARGUMENT, "engine_blocks is null");
  }
  kvf_stream_destroy(stream);
  kvf_prefix_destroy(prefix);
  kvf_publication_destroy(publication);
  kvf_paged_destroy(source.paged);
  kvf_paged_destroy(target.paged);
  kvf_paged_destroy(streamed.paged);
  kvf_client_close(client);
}
