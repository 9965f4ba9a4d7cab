/* A prompt that is read while it is written. */

#include "current_program.h"
#include "program.h"

enum { COUNT = 4 };

typedef struct copied_pages {
  uint8_t blocks[COUNT][BLOCK_BYTES];
  uint32_t calls;
} copied_pages;

static void copy_out(void* context, uint32_t block, uint32_t slice,
                     uint32_t layer, uint32_t layers, kvf_bytes bytes) {
  copied_pages* const pages = context;
  const size_t layer_bytes = PAGE_BYTES / LAYERS;
  CHECK(block < COUNT && slice < SLICES && layer + layers <= LAYERS);
  CHECK(bytes.length == layers * layer_bytes);
  memcpy(pages->blocks[block] + slice * PAGE_BYTES + layer * layer_bytes,
         bytes.data, bytes.length);
  ++pages->calls;
}

static void write_blocks(kvf_publication* publication, uint32_t first,
                         uint32_t count) {
  uint8_t block[BLOCK_BYTES];
  uint32_t position, slice;
  for (position = first; position < first + count; ++position) {
    fill_block(block, sizeof(block), position);
    for (slice = 0; slice < SLICES; ++slice) {
      void* page = NULL;
      size_t page_bytes = 0;
      CHECK_OK(kvf_publication_page(publication, position, slice, &page,
                                    &page_bytes));
      memcpy(page, block + slice * PAGE_BYTES, page_bytes);
    }
  }
}

static kvf_stream_state state_of(const kvf_stream* stream) {
  kvf_stream_state state = {.size = sizeof(state)};
  CHECK_OK(kvf_stream_get_state(stream, &state));
  return state;
}

void run_stream(const char* socket_path) {
  static copied_pages pages;
  static uint8_t expected[BLOCK_BYTES];
  kvf_client* const writer = attach(socket_path, "stream", 0);
  kvf_client* const reader = attach(socket_path, "stream", 0);
  const kvf_stream_options options = {.size = sizeof(options)};
  const kvf_stream_options ready_only = {.size = sizeof(ready_only),
                                         .flags = KVF_STREAM_READY_ONLY};
  const kvf_pull_options pull = {.size = sizeof(pull)};
  kvf_publication* publication = NULL;
  kvf_stream* stream = NULL;
  kvf_stream_state state;
  kvf_key keys[COUNT];
  kvf_bytes page = {NULL, 0};
  const kvf_bytes hand_over = {"first token", 11};
  char data[16];
  size_t length = 0;
  uint32_t first = 0;
  int fd = -1;
  int copied = -1;
  uint32_t i;

  make_keys(writer, 3, COUNT, keys);
  CHECK_OK(kvf_publication_open(writer, NULL, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, keys, COUNT, 0,
                                 5 * SECOND, &first));
  wait_until_coming(reader, keys, COUNT);
  CHECK_OK(kvf_stream_create(&stream));
  CHECK_OK(kvf_match_stream(reader, keys, COUNT, &ready_only, stream));
  /* Nothing is ready, and what is being written was not asked for. */
  CHECK_CODE(kvf_stream_status(stream), KVF_NOT_FOUND);
  CHECK(state_of(stream).done == 1 && state_of(stream).block_count == 0);
  CHECK_OK(kvf_match_stream(reader, keys, COUNT, &options, stream));
  state = state_of(stream);
  CHECK(state.key_count == COUNT && state.ok_blocks == 0 && !state.done);
  CHECK_OK(kvf_stream_status(stream));
  CHECK_OK(kvf_stream_event_fd(stream, &fd));
  CHECK(fd >= 0);
  CHECK_FAILS(kvf_stream_wait_chunk(stream, 1, SECOND / 100),
              KVF_DEADLINE_EXCEEDED, "0 of 4 blocks");
  CHECK_FAILS(kvf_stream_wait_chunk(stream, COUNT + 1, 0), KVF_INVALID_ARGUMENT,
              "5");

  /* Half a chunk's layers, then all of it. */
  write_blocks(publication, 0, 2);
  CHECK_OK(kvf_publication_commit_layers(publication, 0, 2, 1));
  CHECK_OK(kvf_stream_wait_layer(stream, 2, 1, 5 * SECOND));
  state = state_of(stream);
  CHECK(state.layered_end == 2 && state.ok_layers == 1 && state.ok_blocks == 0);
  CHECK_OK(kvf_stream_pull_some(stream, &pull, copy_out, &pages, &copied));
  CHECK(copied == 1 && pages.calls == 2 * SLICES);
  CHECK(state_of(stream).copied_layers == 1);
  CHECK_OK(kvf_publication_commit(publication, 0, 2));
  CHECK_OK(kvf_stream_wait_chunk(stream, 2, 5 * SECOND));
  CHECK(state_of(stream).ok_tokens == 2 * BLOCK_TOKENS);
  CHECK(kvf_stream_confirm(stream, 2) == 2);
  CHECK_OK(kvf_stream_page(stream, 1, 1, &page));
  fill_block(expected, sizeof(expected), 1);
  CHECK(page.length == PAGE_BYTES);
  CHECK(memcmp(page.data, expected + PAGE_BYTES, PAGE_BYTES) == 0);
  CHECK_OK(kvf_stream_page(stream, COUNT, 0, &page));
  CHECK(page.data == NULL && page.length == 0);

  write_blocks(publication, 2, 2);
  CHECK_OK(kvf_publication_set_hand_over(publication, hand_over));
  CHECK_OK(kvf_publication_commit(publication, 2, 2));
  CHECK_OK(kvf_stream_wait_change(stream, 5 * SECOND));
  (void)kvf_stream_poll(stream);
  CHECK_OK(kvf_stream_pull_to(stream, &pull, copy_out, &pages, 5 * SECOND));
  CHECK_OK(kvf_stream_wait_committed(stream, 5 * SECOND));
  state = state_of(stream);
  CHECK(state.done == 1 && state.copied_blocks == COUNT);
  for (i = 0; i < COUNT; ++i) {
    fill_block(expected, sizeof(expected), i);
    CHECK(memcmp(pages.blocks[i], expected, sizeof(expected)) == 0);
  }

  CHECK_FAILS(kvf_stream_hand_over(stream, data, 4, &length), KVF_OUT_OF_RANGE,
              "capacity is 4 bytes, the hand-over has 11");
  CHECK(length == 11);
  CHECK_OK(kvf_stream_hand_over(stream, data, sizeof(data), &length));
  CHECK(length == 11 && memcmp(data, "first token", length) == 0);

  {
    const kvf_pull_options beyond = {.size = sizeof(beyond), .slice_first = 2};
    CHECK_FAILS(
        kvf_stream_pull_some(stream, &beyond, copy_out, &pages, &copied),
        KVF_INVALID_ARGUMENT, "slices [2, +0), group 0 has 2");
    CHECK_FAILS(kvf_stream_pull_to(stream, NULL, NULL, NULL, 0),
                KVF_INVALID_ARGUMENT, "copy is null");
  }
  CHECK_OK(kvf_publication_close(publication, 5 * SECOND));
  kvf_publication_destroy(publication);
  kvf_stream_release(stream);
  CHECK_OK(kvf_stream_page(stream, 0, 0, &page));
  CHECK(page.data == NULL);
  kvf_stream_destroy(stream);
  kvf_client_close(reader);
  kvf_client_close(writer);
}
