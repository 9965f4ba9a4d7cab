/* Blocks from one engine's device memory into another's, through a GPU's pool
   and through the host's. The device is the emulated one, whose memory is this
   program's. */

#include <time.h>

#include "current_program.h"
#include "engine.h"
#include "kvferry/kvferry_gpu.h"
#include "program.h"

enum { COUNT = 4 };

static const uint64_t from[COUNT] = {5, 0, 7, 2};
static const uint64_t to[COUNT] = {1, 6, KVF_NO_BLOCK, 3};

static kvf_status open_device(kvf_client* client, const char* device,
                              kvf_gpu** gpu) {
  const kvf_gpu_options options = {.size = sizeof(options), .device = device};
  return kvf_gpu_open(client, &options, gpu);
}

/* The pool's memory comes a moment after the device was opened. */
static kvf_gpu* open_with_pool(kvf_client* client) {
  const time_t start = time(NULL);
  kvf_gpu_info info = {.size = sizeof(info)};
  kvf_gpu* gpu = NULL;
  CHECK_OK(open_device(client, "emulated:0", &gpu));
  while (kvf_gpu_check_pool(gpu) != KVF_OK) {
    CHECK(kvf_error_message()[0] != '\0');
    CHECK(time(NULL) - start < 10);
  }
  CHECK_OK(kvf_gpu_get_info(gpu, &info));
  CHECK(strcmp(info.uuid, "emulated:0") == 0 && info.name[0] != '\0');
  CHECK(info.emulated == 1 && info.has_pool == 1);
  return gpu;
}

static kvf_gpu_blocks of_engine(const engine* of, const uint64_t* blocks) {
  kvf_gpu_blocks result = {.size = sizeof(result),
                           .paged = of->paged,
                           .engine_blocks = blocks,
                           .count = COUNT};
  return result;
}

static uint64_t end_well(kvf_transfer* transfer) {
  uint64_t bytes;
  uint32_t positions[COUNT];
  size_t count = COUNT;
  CHECK_OK(kvf_transfer_wait(transfer, 10 * SECOND));
  CHECK(kvf_transfer_done(transfer) == 1);
  CHECK_OK(kvf_transfer_status(transfer));
  CHECK_OK(kvf_transfer_skipped(transfer, positions, COUNT, &count));
  CHECK(count == 0);
  bytes = kvf_transfer_bytes(transfer);
  kvf_transfer_destroy(transfer);
  return bytes;
}

/* Publishes the engine's blocks `from`, to where `residence` says. */
static void publish(kvf_client* client, kvf_gpu* gpu, const engine* source,
                    const kvf_key* keys, uint32_t residence) {
  const kvf_publication_options options = {.size = sizeof(options),
                                           .residence = residence};
  const kvf_gpu_blocks blocks = of_engine(source, from);
  kvf_publication* publication = NULL;
  kvf_transfer* transfer = NULL;
  void* page = NULL;
  size_t page_bytes = 0;
  uint32_t first = 0;
  uint32_t i;

  CHECK_OK(kvf_publication_open(client, &options, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, keys, COUNT, 0,
                                 5 * SECOND, &first));
  for (i = 0; i < COUNT; ++i) {
    CHECK(kvf_publication_residence(publication, first + i) == residence);
    CHECK_OK(kvf_publication_page(publication, i, 0, &page, &page_bytes));
    CHECK((page != NULL) == (residence == KVF_RESIDENCE_HOST));
  }
  CHECK(kvf_publication_residence(publication, COUNT) == KVF_RESIDENCE_NONE);
  CHECK_OK(kvf_gpu_publication_page(gpu, publication, 0, 1, &page));
  CHECK(residence != KVF_RESIDENCE_GPU || page != NULL);
  CHECK_FAILS(kvf_gpu_publication_page(gpu, publication, COUNT, 0, &page),
              KVF_OUT_OF_RANGE, "the publication has 4");
  CHECK_FAILS(kvf_gpu_publication_page(gpu, publication, 0, SLICES, &page),
              KVF_OUT_OF_RANGE, "slice 2");

  CHECK_OK(kvf_gpu_publish(gpu, publication, &blocks, NULL, NULL, &transfer));
  CHECK_OK(kvf_publication_close(publication, 10 * SECOND));
  kvf_publication_destroy(publication);
  CHECK(end_well(transfer) == COUNT * BLOCK_BYTES);
}

static void pull(kvf_client* client, kvf_gpu* gpu, const engine* source,
                 engine* target, const kvf_key* keys) {
  const kvf_group_keys names = {
      .size = sizeof(names), .keys = keys, .key_count = COUNT};
  const kvf_gpu_pull_options options = {.size = sizeof(options),
                                        .layers_a_piece = 1};
  kvf_gpu_blocks blocks = of_engine(target, to);
  kvf_prefix* prefix = NULL;
  kvf_transfer* transfer = NULL;

  blocks.last_tokens = 5;
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == COUNT * BLOCK_TOKENS);
  CHECK_OK(kvf_gpu_pull(gpu, prefix, &blocks, 1, NULL, &options, &transfer));
  CHECK(kvf_prefix_tokens(prefix) == 0);
  CHECK_OK(kvf_transfer_order_after(transfer, NULL, 1));
  CHECK_OK(kvf_transfer_order_after(transfer, NULL, 0));
  CHECK(end_well(transfer) > 0);
  CHECK(same_block(source, from[0], target, to[0], BLOCK_TOKENS));
  CHECK(same_block(source, from[1], target, to[1], BLOCK_TOKENS));
  CHECK(same_block(source, from[3], target, to[3], 5));
  CHECK(!same_block(source, from[3], target, to[3], BLOCK_TOKENS));

  /* The handle is as good as new. */
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK(kvf_prefix_tokens(prefix) == COUNT * BLOCK_TOKENS);
  kvf_prefix_destroy(prefix);
}

/* A hit in a GPU's pool has no page for the processor, and one for the device;
   who looks at host memory alone finds the copy in it, when that is there. */
static void check_residences(kvf_client* client, kvf_gpu* gpu,
                             kvf_client* other, const kvf_key* keys) {
  const time_t start = time(NULL);
  const kvf_group_keys names = {
      .size = sizeof(names), .keys = keys, .key_count = COUNT};
  kvf_prefix* prefix = NULL;
  kvf_bytes page = {NULL, 0};
  void* device_page = NULL;

  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK(kvf_prefix_residence(prefix, 1, 0) == KVF_RESIDENCE_GPU);
  CHECK(kvf_prefix_residence(prefix, COUNT, 0) == KVF_RESIDENCE_NONE);
  CHECK(kvf_prefix_residence(prefix, 0, 1) == KVF_RESIDENCE_NONE);
  CHECK_FAILS(kvf_prefix_page(prefix, 1, 0, 0, &page), KVF_FAILED_PRECONDITION,
              "pinned in a GPU");
  CHECK_OK(kvf_gpu_prefix_page(gpu, prefix, 1, 0, 0, &device_page));
  CHECK(device_page != NULL);
  CHECK_FAILS(kvf_gpu_prefix_page(gpu, prefix, COUNT, 0, 0, &device_page),
              KVF_OUT_OF_RANGE, "position 4");

  do {
    CHECK(time(NULL) - start < 10);
    CHECK_OK(kvf_match(other, &names, 1, prefix));
  } while (kvf_prefix_tokens(prefix) < COUNT * BLOCK_TOKENS);
  CHECK(kvf_prefix_residence(prefix, 1, 0) == KVF_RESIDENCE_HOST);
  CHECK_OK(kvf_prefix_page(prefix, 1, 0, 0, &page));
  CHECK(page.length == PAGE_BYTES);
  CHECK_FAILS(kvf_gpu_prefix_page(gpu, prefix, 1, 0, 0, &device_page),
              KVF_INVALID_ARGUMENT, "another client's");
  kvf_prefix_destroy(prefix);
}

static void follow(kvf_client* client, kvf_gpu* gpu, const engine* source,
                   engine* target, const kvf_key* keys) {
  const kvf_publication_options options = {.size = sizeof(options),
                                           .residence = KVF_RESIDENCE_GPU};
  const kvf_gpu_publish_options halves[2] = {
      {.size = sizeof(halves[0]), .first_layer = 0, .layer_count = 1},
      {.size = sizeof(halves[1]), .first_layer = 1, .layer_count = 1}};
  const kvf_gpu_blocks read = of_engine(source, from);
  const uint64_t places[COUNT] = {0, 1, 2, 3};
  const kvf_gpu_blocks written = of_engine(target, places);
  kvf_publication* publication = NULL;
  kvf_stream* prompt = NULL;
  kvf_transfer* reader = NULL;
  kvf_transfer* writer = NULL;
  kvf_stream_state state = {.size = sizeof(state)};
  uint32_t first = 0;
  int i;

  CHECK_OK(kvf_publication_open(client, &options, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, keys, COUNT, 0,
                                 5 * SECOND, &first));
  wait_until_coming(client, keys, COUNT);
  CHECK_OK(kvf_stream_create(&prompt));
  CHECK_OK(kvf_match_stream(client, keys, COUNT, NULL, prompt));
  CHECK_OK(kvf_gpu_follow(gpu, prompt, &written, NULL, NULL, &reader));
  CHECK_OK(kvf_stream_get_state(prompt, &state));
  CHECK(state.key_count == 0);
  CHECK(kvf_transfer_done(reader) == 0);
  CHECK_CODE(kvf_transfer_status(reader), KVF_UNAVAILABLE);
  CHECK_CODE(kvf_transfer_wait(reader, 0), KVF_DEADLINE_EXCEEDED);
  for (i = 0; i < 2; ++i) {
    CHECK_OK(
        kvf_gpu_publish(gpu, publication, &read, NULL, &halves[i], &writer));
    end_well(writer);
  }
  CHECK_OK(
      kvf_publication_commit_and_wait(publication, first, COUNT, 5 * SECOND));
  CHECK_OK(kvf_publication_close(publication, 5 * SECOND));
  CHECK(end_well(reader) == COUNT * BLOCK_BYTES);
  for (i = 0; i < COUNT; ++i) {
    CHECK(same_block(source, from[i], target, places[i], BLOCK_TOKENS));
  }
  kvf_stream_destroy(prompt);
  kvf_publication_destroy(publication);
}

static void check_refusals(kvf_client* client, kvf_client* other, kvf_gpu* gpu,
                           const engine* target, const kvf_key* keys) {
  const kvf_group_keys names = {
      .size = sizeof(names), .keys = keys, .key_count = COUNT};
  const uint64_t beyond[COUNT] = {0, 1, 2, ENGINE_BLOCKS};
  kvf_gpu_blocks blocks = of_engine(target, to);
  kvf_gpu_pull_options options = {.size = sizeof(options), .reserved = 1};
  kvf_prefix* prefix = NULL;
  kvf_transfer* transfer = NULL;
  kvf_gpu* second = NULL;

  CHECK_CODE(open_device(client, "emulated:0", &second), KVF_ALREADY_EXISTS);
  CHECK(second == NULL);
  CHECK_CODE(open_device(other, "a toaster", &second), KVF_INVALID_ARGUMENT);

  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_FAILS(kvf_gpu_pull(gpu, prefix, &blocks, 1, NULL, NULL, &transfer),
              KVF_INVALID_ARGUMENT, "nothing was ever matched");
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK_CODE(kvf_gpu_pull(gpu, prefix, &blocks, 1, NULL, &options, &transfer),
             KVF_UNIMPLEMENTED);
  CHECK_FAILS(kvf_gpu_pull(gpu, prefix, NULL, 1, NULL, NULL, &transfer),
              KVF_INVALID_ARGUMENT, "blocks is null");
  CHECK_CODE(kvf_gpu_pull(gpu, prefix, &blocks, 1000, NULL, NULL, &transfer),
             KVF_INVALID_ARGUMENT);
  blocks.engine_blocks = beyond;
  CHECK_CODE(kvf_gpu_pull(gpu, prefix, &blocks, 1, NULL, NULL, &transfer),
             KVF_INVALID_ARGUMENT);
  CHECK(transfer == NULL);
  /* What failed left the pins where they were. */
  CHECK(kvf_prefix_tokens(prefix) == COUNT * BLOCK_TOKENS);
  CHECK_FAILS(kvf_prefix_copy_to(prefix, 0, 0, COUNT, target->paged, to, 0),
              KVF_FAILED_PRECONDITION, "KVF_PAGED_DEVICE");
  kvf_prefix_destroy(prefix);

  CHECK(kvf_transfer_done(NULL) == 0 && kvf_transfer_bytes(NULL) == 0);
  CHECK_FAILS(kvf_transfer_status(NULL), KVF_INVALID_ARGUMENT, "null");
  kvf_transfer_destroy(NULL);
  kvf_gpu_close(NULL);
}

/* A transfer's handle outlives all that it was made from. */
static void check_lifetimes(kvf_client* client, kvf_gpu* gpu, engine* target,
                            const kvf_key* keys) {
  const kvf_group_keys names = {
      .size = sizeof(names), .keys = keys, .key_count = COUNT};
  const kvf_gpu_blocks blocks = of_engine(target, to);
  kvf_prefix* prefix = NULL;
  kvf_transfer* transfer = NULL;
  CHECK_OK(kvf_prefix_create(&prefix));
  CHECK_OK(kvf_match(client, &names, 1, prefix));
  CHECK_OK(kvf_gpu_pull(gpu, prefix, &blocks, 1, NULL, NULL, &transfer));
  kvf_prefix_destroy(prefix);
  kvf_client_close(client);
  kvf_gpu_close(gpu);
  CHECK(kvf_transfer_done(transfer) == 1);
  CHECK(end_well(transfer) > 0);
}

void run_gpu(const char* socket_path) {
  static engine source, target;
  kvf_client* const client = attach(socket_path, "gpu", 0);
  kvf_client* const other = attach(socket_path, "gpu", 0);
  kvf_gpu* const gpu = open_with_pool(client);
  kvf_key in_gpu[COUNT], in_host[COUNT], followed[COUNT];

  make_engine(&source, 0, KVF_PAGED_DEVICE);
  make_engine(&target, 1, KVF_PAGED_DEVICE);
  fill_engine(&source, 9);
  make_keys(client, 31, COUNT, in_gpu);
  make_keys(client, 32, COUNT, in_host);
  make_keys(client, 33, COUNT, followed);

  publish(client, gpu, &source, in_gpu, KVF_RESIDENCE_GPU);
  check_residences(client, gpu, other, in_gpu);
  pull(client, gpu, &source, &target, in_gpu);
  memset(target.memory, 0, sizeof(target.memory));
  publish(client, gpu, &source, in_host, KVF_RESIDENCE_HOST);
  pull(client, gpu, &source, &target, in_host);
  memset(target.memory, 0, sizeof(target.memory));
  follow(client, gpu, &source, &target, followed);
  check_refusals(client, other, gpu, &target, in_gpu);

  check_lifetimes(client, gpu, &target, in_host);
  kvf_client_close(other);
  kvf_paged_destroy(source.paged);
  kvf_paged_destroy(target.paged);
}
