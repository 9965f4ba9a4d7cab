#ifndef KVFERRY_LAYOUT_H_
#define KVFERRY_LAYOUT_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace kvferry {

// Which blocks of a group must be present for a prompt to hit at a boundary.
enum class HitRule : uint8_t {
  kAllPrefix = 0,   // every block before it (full attention)
  kTrailing = 1,    // the last `trailing_blocks` before it (sliding window)
  kCheckpoint = 2,  // the one that ends there (recurrent state)
};

// A set of layers with one page size and one hit rule.
//
// A page is one slice of one block, contiguous, in the order
// [layer][K,V][token][head of the slice][head_bytes].
struct GroupSpec {
  std::string name = "full";
  uint32_t block_tokens = 16;
  uint32_t layer_count = 1;
  uint32_t kv_count = 2;  // 2: K and V; 1: one tensor (packed, or MLA's latent)
  uint32_t head_count = 1;  // KV heads of one slice
  uint32_t head_bytes = 0;  // head_dim x element size (or opaque bytes a token)
  uint32_t slice_count = 1;
  HitRule rule = HitRule::kAllPrefix;
  uint32_t trailing_blocks = 0;  // for kTrailing

  uint64_t token_bytes() const { return uint64_t{head_count} * head_bytes; }
  uint64_t page_bytes() const {
    return token_bytes() * kv_count * layer_count * block_tokens;
  }
  uint64_t block_bytes() const { return page_bytes() * slice_count; }

  friend bool operator==(const GroupSpec&, const GroupSpec&) = default;
};

// What a namespace is: everything here, but the name, goes into its
// fingerprint, and two processes whose fingerprints differ cannot meet.
// Parallel sizes, adapters and tenants are not part of it.
struct NamespaceSpec {
  std::string name;
  std::string model;
  std::string revision;
  std::string dtype;
  std::vector<GroupSpec> groups;

  friend bool operator==(const NamespaceSpec&, const NamespaceSpec&) = default;
};

// A group with pages of exactly `page_bytes` and no inner structure, for users
// who fill pages themselves. When `page_bytes` is no multiple of `block_tokens`
// its head_bytes is 0, which every attach refuses by name.
inline GroupSpec OpaqueGroup(uint32_t block_tokens, uint64_t page_bytes,
                             uint32_t slice_count = 1) {
  GroupSpec group;
  group.block_tokens = block_tokens;
  group.kv_count = 1;
  if (block_tokens != 0 && page_bytes % block_tokens == 0 &&
      page_bytes / block_tokens <= 0xffff'ffff) {
    group.head_bytes = static_cast<uint32_t>(page_bytes / block_tokens);
  }
  group.slice_count = slice_count;
  return group;
}

}  // namespace kvferry

#endif  // KVFERRY_LAYOUT_H_
