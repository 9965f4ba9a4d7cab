#include <cstdint>
#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kvferry/client.h"

// Hashes a prompt and attaches to the daemon at the socket argv[1], where there
// is none. Exits with 0 when both do what their headers say.
int main(int argc, char** argv) {
  kvferry::KeyHasher hasher(kvferry::NamespaceSalt{}, /*group=*/0,
                            /*block_tokens=*/16);
  std::vector<kvferry::BlockKey> keys;
  hasher.HashBlocks({}, std::vector<uint32_t>(40, 7), &keys);
  kvferry::AttachOptions options;
  options.socket_path = argc > 1 ? argv[1] : "";
  options.spec.name = "consumer";
  options.spec.groups = {kvferry::OpaqueGroup(16, 4096)};
  const auto client = kvferry::Client::Attach(options);
  std::puts(absl::StrCat(keys.size(), " keys, the first ", ToHex(keys[0]), "; ",
                         client.status().ToString())
                .c_str());
  return keys.size() == 2 && absl::IsUnavailable(client.status()) ? 0 : 1;
}
