#ifndef KVFERRY_KEY_H_
#define KVFERRY_KEY_H_

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvferry/export.h"

namespace kvferry {

// The name of a block: 128 bits of a cryptographic hash over everything that
// decides its bytes, always compared in full. All zero means "no key".
struct BlockKey {
  uint64_t lo = 0;
  uint64_t hi = 0;

  friend bool operator==(const BlockKey&, const BlockKey&) = default;
  friend auto operator<=>(const BlockKey&, const BlockKey&) = default;
  bool is_none() const { return lo == 0 && hi == 0; }
};

// 32 lower-case digits: the key's 16 bytes in digest order (`lo` is the first
// eight, little-endian).
KVFERRY_EXPORT std::string ToHex(const BlockKey& key);
// Errors  kInvalidArgument  not 32 hexadecimal digits
KVFERRY_EXPORT absl::StatusOr<BlockKey> ParseBlockKey(absl::string_view hex);

// A namespace's 32 bytes that separate its keys from all others'. The same on
// every node of a deployment (it follows from the fingerprint).
using NamespaceSalt = std::array<std::byte, 32>;

// Makes the chained keys of one layer group's blocks from their tokens.
//
//   key = SHA-256(group salt | parent (16 bytes) | token count (u32) |
//                 tokens (u32 each) | extra)[0, 16)      integers little-endian
//   group salt = SHA-256("kvferry-key-1" | salt | group (u32))
//
// A 16-token block is 116 bytes so, two rounds of SHA-256; with salt, group and
// the size of extra in every message it would be three.
//
// `extra` names what else decides the bytes: adapter, tenant or cache salt,
// image digests. It counts in the block it is given for and, through the
// chain, in all that follow. A tail block hashes its own, smaller token count,
// so its key differs from the full block's.
//
// Cost     about 110 ns a 16-token block (one SHA-256, digest fetched once)
// Threads  one KeyHasher is used by one thread at a time
class KVFERRY_EXPORT KeyHasher {
 public:
  KeyHasher(const NamespaceSalt& salt, uint32_t group, uint32_t block_tokens);
  KeyHasher(KeyHasher&&) noexcept;
  KeyHasher& operator=(KeyHasher&&) noexcept;
  ~KeyHasher();

  // The key of one block after `parent` (none for the first block).
  BlockKey HashBlock(const BlockKey& parent, std::span<const uint32_t> tokens,
                     absl::string_view extra = {});

  // Appends to `keys` the keys of the full blocks of `tokens`, chained after
  // `parent`; the tokens of an incomplete last block are ignored.
  void HashBlocks(const BlockKey& parent, std::span<const uint32_t> tokens,
                  std::vector<BlockKey>* keys, absl::string_view extra = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Keys from an engine's own chained block digests.
//
// kCryptographic  (SHA-256, BLAKE3): cut to 128 bits, the group mixed in
//                 (group 0 leaves it as it is)
// kOther          (xxHash and the like): hashed with the salt and the group,
//                 since a short or predictable hash lets a prompt be forged
//                 into another's cache (CVE-2025-25183)
//
//   key = SHA-256("kvferry-digest-1" | salt | group (u32) | size (u32) |
//                 digest)[0, 16)
//
// Errors  kInvalidArgument  a cryptographic digest shorter than 16 bytes, or an
//                           empty one
enum class DigestKind { kCryptographic, kOther };
KVFERRY_EXPORT absl::StatusOr<BlockKey> KeyFromDigest(
    const NamespaceSalt& salt, uint32_t group, DigestKind kind,
    std::span<const std::byte> digest);

}  // namespace kvferry

template <>
struct std::hash<kvferry::BlockKey> {
  size_t operator()(const kvferry::BlockKey& key) const noexcept {
    return key.lo ^ key.hi;  // uniform already
  }
};

#endif  // KVFERRY_KEY_H_
