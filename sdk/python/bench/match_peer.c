/* The same matches as bench/match.py, without Python.

   usage: match_peer SOCKET NAMESPACE KEYS_FILE

   KEYS_FILE holds packed keys of prompts, all of one length. Each line on
   standard input is "PROMPT_KEYS FIRST CALLS": matches the prompt of
   PROMPT_KEYS keys that begins at key FIRST so often. Answers with the
   nanoseconds of each call, in one line. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kvferry/kvferry.h"

static uint64_t NowNs(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int Fail(const char* what) {
  fprintf(stderr, "match_peer: %s: %s\n", what, kvf_error_message());
  return 1;
}

/* The keys of the file, and how many; null when it cannot be read. */
static kvf_key* ReadKeys(const char* path, size_t* count) {
  FILE* file = fopen(path, "rb");
  if (file == NULL) return NULL;
  kvf_key* keys = NULL;
  if (fseek(file, 0, SEEK_END) == 0) {
    const long bytes = ftell(file);
    rewind(file);
    *count = bytes > 0 ? (size_t)bytes / sizeof(kvf_key) : 0;
    keys = malloc(*count * sizeof(kvf_key));
    if (keys != NULL && fread(keys, sizeof(kvf_key), *count, file) != *count) {
      free(keys);
      keys = NULL;
    }
  }
  fclose(file);
  return keys;
}

static kvf_client* Attach(const char* socket_path, const char* name) {
  kvf_namespace_spec spec = {.size = sizeof(spec), .name = name};
  kvf_attach_options options = {.size = sizeof(options),
                                .socket_path = socket_path,
                                .spec = &spec,
                                .flags = KVF_ATTACH_ACCEPT_EXISTING,
                                .client_name = "match_peer"};
  kvf_client* client = NULL;
  return kvf_client_attach(&options, &client) == KVF_OK ? client : NULL;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: match_peer SOCKET NAMESPACE KEYS_FILE\n");
    return 2;
  }
  size_t key_count = 0;
  kvf_key* const keys = ReadKeys(argv[3], &key_count);
  if (keys == NULL) {
    perror(argv[3]);
    return 1;
  }
  kvf_client* const client = Attach(argv[1], argv[2]);
  if (client == NULL) return Fail("attach");
  kvf_prefix* prefix = NULL;
  if (kvf_prefix_create(&prefix) != KVF_OK) return Fail("prefix");

  size_t prompt_keys = 0;
  size_t first = 0;
  unsigned calls = 0;
  while (scanf("%zu %zu %u", &prompt_keys, &first, &calls) == 3) {
    if (first > key_count || prompt_keys > key_count - first) {
      fprintf(stderr, "match_peer: keys [%zu, +%zu) of %zu\n", first,
              prompt_keys, key_count);
      return 1;
    }
    const kvf_group_keys group = {
        .size = sizeof(group), .keys = keys + first, .key_count = prompt_keys};
    for (unsigned i = 0; i < calls; ++i) {
      const uint64_t begin_ns = NowNs();
      const kvf_status status = kvf_match(client, &group, 1, prefix);
      const uint32_t blocks = kvf_prefix_block_count(prefix, 0);
      kvf_prefix_release(prefix);
      const uint64_t end_ns = NowNs();
      if (status != KVF_OK) return Fail("match");
      if (blocks != prompt_keys) {
        fprintf(stderr, "match_peer: %u of %zu blocks\n", blocks, prompt_keys);
        return 1;
      }
      printf("%" PRIu64 " ", end_ns - begin_ns);
    }
    putchar('\n');
    fflush(stdout);
  }
  kvf_prefix_destroy(prefix);
  kvf_client_close(client);
  free(keys);
  return 0;
}
