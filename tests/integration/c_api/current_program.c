/* A C99 program that uses everything the headers have. */

#include "current_program.h"

#include <time.h>

#include "program.h"

kvf_group_spec the_group(void) {
  kvf_group_spec group = {.size = sizeof(group),
                          .name = "full",
                          .block_tokens = BLOCK_TOKENS,
                          .layer_count = LAYERS,
                          .kv_count = 2,
                          .head_count = HEADS,
                          .head_bytes = HEAD_BYTES,
                          .slice_count = SLICES,
                          .rule = KVF_HIT_ALL_PREFIX};
  return group;
}

kvf_client* attach(const char* socket_path, const char* name, uint64_t flags) {
  const kvf_group_spec group = the_group();
  const kvf_namespace_spec spec = {.size = sizeof(spec),
                                   .name = name,
                                   .model = "a model",
                                   .revision = "7",
                                   .dtype = "bf16",
                                   .groups = &group,
                                   .group_count = 1};
  const kvf_attach_options options = {.size = sizeof(options),
                                      .socket_path = socket_path,
                                      .spec = &spec,
                                      .flags = flags,
                                      .client_name = "c program"};
  kvf_client* client = NULL;
  CHECK_OK(kvf_client_attach(&options, &client));
  CHECK(client != NULL);
  return client;
}

void make_keys(kvf_client* client, uint32_t seed, size_t count, kvf_key* keys) {
  const size_t token_count = count * BLOCK_TOKENS;
  uint32_t* const tokens = malloc(token_count * sizeof(*tokens));
  const kvf_bytes extra = {NULL, 0};
  kvf_hasher* hasher = NULL;
  size_t made = 0;
  size_t i;
  CHECK(tokens != NULL);
  for (i = 0; i < token_count; ++i) tokens[i] = seed * 1000003u + (uint32_t)i;
  CHECK_OK(kvf_hasher_create(client, 0, &hasher));
  CHECK_OK(kvf_hasher_hash_blocks(hasher, NULL, tokens, token_count, extra,
                                  keys, count, &made));
  CHECK(made == count);
  kvf_hasher_destroy(hasher);
  free(tokens);
}

void fill_block(uint8_t* block, size_t bytes, uint32_t number) {
  size_t i;
  for (i = 0; i < bytes; ++i) block[i] = (uint8_t)(number * 37u + i * 11u);
}

void publish_blocks(kvf_client* client, const kvf_key* keys, size_t count,
                    uint32_t first_number) {
  uint8_t* const blocks = malloc(count * BLOCK_BYTES);
  const void** const sources = malloc(count * sizeof(*sources));
  uint32_t visible = 0;
  size_t i;
  CHECK(blocks != NULL && sources != NULL);
  for (i = 0; i < count; ++i) {
    fill_block(blocks + i * BLOCK_BYTES, BLOCK_BYTES,
               first_number + (uint32_t)i);
    sources[i] = blocks + i * BLOCK_BYTES;
  }
  CHECK_OK(
      kvf_publish(client, 0, NULL, keys, sources, count, 5 * SECOND, &visible));
  CHECK(visible == count);
  free(sources);
  free(blocks);
}

void wait_until_coming(kvf_client* client, const kvf_key* keys, size_t count) {
  const time_t start = time(NULL);
  const kvf_group_keys group = {
      .size = sizeof(group), .keys = keys, .key_count = count};
  kvf_lookup_result result = {.size = sizeof(result)};
  do {
    CHECK(time(NULL) - start < 10);
    CHECK_OK(kvf_lookup(client, &group, 1, &result));
  } while (result.answer != KVF_LOOKUP_ASK_AGAIN ||
           result.coming_tokens < count * BLOCK_TOKENS);
}

int main(int argc, char** argv) {
  static const scenario scenarios[] = {
      {"publish_and_match", run_publish_and_match},
      {"publication", run_publication},
      {"stream", run_stream},
      {"ticket", run_ticket},
      {"paged", run_paged},
      {"gpu", run_gpu},
      {"admin", run_admin},
      {"admin_gpu", run_admin_gpu},
      {"errors", run_errors},
      {"lifetimes", run_lifetimes}};
  return run_scenario(argc, argv, scenarios,
                      sizeof(scenarios) / sizeof(scenarios[0]));
}
