/* Blocks that are written in place, chunk by chunk. */

#include "current_program.h"
#include "program.h"

enum { COUNT = 5 };

static void write_block(kvf_publication* publication, uint32_t position) {
  uint8_t block[BLOCK_BYTES];
  uint32_t slice;
  fill_block(block, sizeof(block), position);
  for (slice = 0; slice < SLICES; ++slice) {
    void* page = NULL;
    size_t page_bytes = 0;
    CHECK_OK(
        kvf_publication_page(publication, position, slice, &page, &page_bytes));
    CHECK(page != NULL && page_bytes == PAGE_BYTES);
    kvf_copy(page, block + slice * PAGE_BYTES, PAGE_BYTES);
  }
}

/* Two ranks, each of which writes its slice of the same blocks. */
static void check_ranks(kvf_client* client) {
  kvf_publication* ranks[SLICES] = {NULL, NULL};
  kvf_prefix* prefix = NULL;
  kvf_key keys[2];
  const kvf_group_keys group = {
      .size = sizeof(group), .keys = keys, .key_count = 2};
  uint8_t block[BLOCK_BYTES];
  void* page = NULL;
  size_t page_bytes = 0;
  uint32_t first = 0;
  uint32_t rank, i;

  make_keys(client, 22, 2, keys);
  CHECK_OK(kvf_prefix_create(&prefix));
  for (rank = 0; rank < SLICES; ++rank) {
    const kvf_publication_options options = {.size = sizeof(options),
                                             .engine_instance = 5,
                                             .publication = 6,
                                             .slice_first = rank,
                                             .slice_count = 1};
    CHECK_OK(kvf_publication_open(client, &options, &ranks[rank]));
    CHECK_OK(kvf_publication_begin(ranks[rank], 0, NULL, keys, 2, 0, 5 * SECOND,
                                   &first));
  }
  CHECK_FAILS(kvf_publication_page(ranks[0], 0, 1, &page, &page_bytes),
              KVF_OUT_OF_RANGE, "slice 1, group 0 has 2");
  CHECK_FAILS(kvf_publication_page(ranks[1], 1, 0, &page, &page_bytes),
              KVF_OUT_OF_RANGE, "slice 0, group 0 has 2");
  for (rank = 0; rank < SLICES; ++rank) {
    CHECK_OK(kvf_match(client, &group, 1, prefix));
    CHECK(kvf_prefix_tokens(prefix) == 0);
    for (i = 0; i < 2; ++i) {
      fill_block(block, sizeof(block), i);
      CHECK_OK(kvf_publication_page(ranks[rank], i, rank, &page, &page_bytes));
      CHECK(page != NULL && page_bytes == PAGE_BYTES);
      memcpy(page, block + rank * PAGE_BYTES, PAGE_BYTES);
    }
    CHECK_OK(kvf_publication_commit_and_wait(ranks[rank], 0, 2, 5 * SECOND));
  }
  CHECK_OK(kvf_match(client, &group, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == 2 * BLOCK_TOKENS);
  for (rank = 0; rank < SLICES; ++rank) kvf_publication_destroy(ranks[rank]);
  kvf_prefix_destroy(prefix);
}

void run_publication(const char* socket_path) {
  kvf_client* const client = attach(socket_path, "publication", 0);
  const kvf_publication_options options = {.size = sizeof(options),
                                           .stall_timeout_ns = 20 * SECOND,
                                           .flags = KVF_PUBLISH_NO_STANDBY};
  kvf_publication* publication = NULL;
  kvf_publication* again = NULL;
  kvf_prefix* prefix = NULL;
  kvf_key keys[COUNT];
  uint8_t outcomes[COUNT];
  const kvf_group_keys group = {
      .size = sizeof(group), .keys = keys, .key_count = COUNT};
  void* page = keys;
  size_t page_bytes = 1;
  uint32_t first = 99;
  uint32_t i;

  make_keys(client, 2, COUNT, keys);
  CHECK_OK(kvf_publication_open(client, &options, &publication));
  CHECK(kvf_publication_size(publication) == 0);
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, keys, 3, 0, 5 * SECOND,
                                 &first));
  CHECK(first == 0);
  CHECK_OK(kvf_publication_begin(publication, 0, &keys[2], keys + 3, 2, 0,
                                 5 * SECOND, &first));
  CHECK(first == 3 && kvf_publication_size(publication) == COUNT);
  CHECK_OK(kvf_publication_outcomes(publication, 0, COUNT, outcomes));
  for (i = 0; i < COUNT; ++i) CHECK(outcomes[i] == KVF_BLOCK_WRITING);

  CHECK_FAILS(kvf_publication_outcomes(publication, 3, 3, outcomes),
              KVF_OUT_OF_RANGE, "positions [3, +3), the publication has 5");
  CHECK_FAILS(kvf_publication_page(publication, COUNT, 0, &page, &page_bytes),
              KVF_OUT_OF_RANGE, "positions [5, +1)");
  CHECK_FAILS(kvf_publication_page(publication, 4, SLICES, &page, &page_bytes),
              KVF_OUT_OF_RANGE, "slice 2, group 0 has 2");
  CHECK(page == keys && page_bytes == 1);

  for (i = 0; i < COUNT; ++i) write_block(publication, i);
  CHECK_OK(kvf_publication_commit(publication, 0, 3));
  CHECK_OK(kvf_publication_commit_layers(publication, 3, 2, 1));
  CHECK_OK(kvf_publication_commit_and_wait(publication, 3, 2, 5 * SECOND));
  CHECK_OK(kvf_publication_outcomes(publication, 0, COUNT, outcomes));
  for (i = 0; i < COUNT; ++i) CHECK(outcomes[i] == KVF_BLOCK_COMMITTED);
  CHECK_FAILS(kvf_publication_commit(publication, 4, 2), KVF_INVALID_ARGUMENT,
              "positions [4, +2)");

  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &group, 1, prefix));
  CHECK(kvf_prefix_block_count(prefix, 0) == COUNT);

  /* They exist now, so that there is nothing to write. */
  CHECK_OK(kvf_publication_open(client, NULL, &again));
  CHECK_OK(kvf_publication_begin(again, 0, NULL, keys, COUNT, 0, 5 * SECOND,
                                 &first));
  CHECK_OK(kvf_publication_outcomes(again, 1, 1, outcomes));
  CHECK(outcomes[0] == KVF_BLOCK_EXISTS);
  CHECK_OK(kvf_publication_page(again, 1, 0, &page, &page_bytes));
  CHECK(page == NULL && page_bytes == 0);
  kvf_publication_abort(again);
  kvf_publication_destroy(again);

  CHECK_OK(kvf_publication_close(publication, 5 * SECOND));
  kvf_publication_destroy(publication);
  kvf_prefix_destroy(prefix);
  check_ranks(client);
  kvf_client_close(client);
}
