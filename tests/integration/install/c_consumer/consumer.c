#include <stdint.h>
#include <stdio.h>

#include "kvferry/kvferry_admin.h"

/* Hashes a prompt and attaches to the daemon at the socket argv[1], where there
   is none. Exits with 0 when both do what their headers say. */
int main(int argc, char** argv) {
  static const uint8_t salt[32];
  static const uint32_t tokens[40];
  const kvf_bytes extra = {NULL, 0};
  const kvf_group_spec group = {.size = sizeof(group),
                                .name = "full",
                                .block_tokens = 16,
                                .layer_count = 1,
                                .kv_count = 1,
                                .head_count = 1,
                                .head_bytes = 256,
                                .slice_count = 1};
  const kvf_namespace_spec spec = {.size = sizeof(spec),
                                   .name = "consumer",
                                   .groups = &group,
                                   .group_count = 1};
  const kvf_attach_options options = {.size = sizeof(options),
                                      .socket_path = argc > 1 ? argv[1] : NULL,
                                      .spec = &spec};
  kvf_hasher* hasher = NULL;
  kvf_client* client = NULL;
  kvf_admin* admin = NULL;
  kvf_key keys[2];
  size_t count = 0;
  kvf_status attached;
  kvf_status asked;
  char hex[33] = "";

  if (kvf_hasher_create_for(salt, 0, 16, &hasher) != KVF_OK ||
      kvf_hasher_hash_blocks(hasher, NULL, tokens, 40, extra, keys, 2,
                             &count) != KVF_OK ||
      kvf_key_to_hex(&keys[0], hex) != KVF_OK) {
    return 1;
  }
  kvf_hasher_destroy(hasher);
  attached = kvf_client_attach(&options, &client);
  printf("%s: %u keys, the first %s; %s: %s\n", kvf_version(), (unsigned)count,
         hex, kvf_status_name(attached), kvf_error_message());
  asked = kvf_admin_connect(options.socket_path, 0, &admin);
  return count == 2 && attached == KVF_UNAVAILABLE &&
                 asked == KVF_UNAVAILABLE &&
                 kvf_abi_version() == KVF_ABI_VERSION
             ? 0
             : 1;
}
