#include "kvferry/key.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/hex.h"
#include "base/status.h"
#include "sdk/cut_digests.h"

namespace kvferry {
namespace {

static_assert(std::endian::native == std::endian::little,
              "keys are hashed over little-endian integers as they lie");

// Domains of the two things that are hashed, so that no token block can have
// the key of an engine's digest.
constexpr char kTokenDomain[] = "kvferry-key-1";
constexpr char kDigestDomain[] = "kvferry-digest-1";

constexpr size_t kDigestBytesMin = 16;
constexpr size_t kSha256Bytes = 32;

// SHA-256 is in every provider; without it, or without memory for a context,
// there are no keys and nothing to go on with.
[[noreturn]] void DieOfOpenSsl(const char* call) {
  std::fprintf(stderr, "kvferry: %s failed\n", call);
  std::abort();
}

const EVP_MD* Sha256() {
  // Fetched once and never freed: a fetch takes locks and microseconds.
  static const EVP_MD* const digest = [] {
    const EVP_MD* fetched = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
    if (fetched == nullptr) DieOfOpenSsl("EVP_MD_fetch(SHA256)");
    return fetched;
  }();
  return digest;
}

using Digest = std::array<std::byte, kSha256Bytes>;

// The first 16 bytes of a digest of at least that many.
BlockKey Cut(std::span<const std::byte> digest) {
  BlockKey key;
  std::memcpy(&key.lo, digest.data(), sizeof(key.lo));
  std::memcpy(&key.hi, digest.data() + sizeof(key.lo), sizeof(key.hi));
  return key;
}

// All zero means "no key" everywhere, so a hash that is gets another name.
BlockKey NotNone(BlockKey key) {
  if (key.is_none()) key.lo = 1;
  return key;
}

BlockKey KeyOf(const Digest& digest) { return NotNone(Cut(digest)); }

// A context that is used over and over.
class Sha256Context {
 public:
  Sha256Context() : context_(::EVP_MD_CTX_new()) {
    if (context_ == nullptr) DieOfOpenSsl("EVP_MD_CTX_new");
  }
  ~Sha256Context() { ::EVP_MD_CTX_free(context_); }
  Sha256Context(const Sha256Context&) = delete;
  Sha256Context& operator=(const Sha256Context&) = delete;

  // The digest of `first` and then `second`.
  Digest Hash(std::span<const std::byte> first,
              std::span<const std::byte> second = {}) {
    Digest digest;
    if (::EVP_DigestInit_ex2(context_, digest_, nullptr) != 1 ||
        ::EVP_DigestUpdate(context_, first.data(), first.size()) != 1 ||
        (!second.empty() &&
         ::EVP_DigestUpdate(context_, second.data(), second.size()) != 1) ||
        ::EVP_DigestFinal_ex(context_,
                             reinterpret_cast<unsigned char*>(digest.data()),
                             nullptr) != 1) {
      DieOfOpenSsl("EVP_Digest");
    }
    return digest;
  }

 private:
  EVP_MD_CTX* const context_;
  const EVP_MD* const digest_ = Sha256();
};

std::byte* Append(std::byte* out, const void* bytes, size_t size) {
  if (size != 0) std::memcpy(out, bytes, size);
  return out + size;
}
std::byte* AppendU32(std::byte* out, uint32_t value) {
  return Append(out, &value, sizeof(value));
}

// One-to-one, and zero for zero (splitmix64's finaliser).
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

}  // namespace

std::string ToHex(const BlockKey& key) {
  std::byte bytes[16];
  Append(Append(bytes, &key.lo, sizeof(key.lo)), &key.hi, sizeof(key.hi));
  return HexEncode(bytes);
}

absl::StatusOr<BlockKey> ParseBlockKey(absl::string_view hex) {
  constexpr size_t kDigits = 32;
  if (hex.size() != kDigits) {
    return absl::InvalidArgumentError(
        absl::StrCat("key: \"", absl::CHexEscape(hex.substr(0, 2 * kDigits)),
                     "\" has ", hex.size(), " digits, need ", kDigits));
  }
  absl::StatusOr<std::vector<std::byte>> bytes = HexDecode(hex);
  if (!bytes.ok()) return WithContext(bytes.status(), "key");
  return Cut(*bytes);
}

// The message to hash lies ready in `message`: the group salt, which is the
// same for every block, is written once.
struct KeyHasher::Impl {
  static size_t MessageBytes(size_t token_count, size_t extra_bytes) {
    return kSha256Bytes + sizeof(BlockKey) + sizeof(uint32_t) +
           token_count * sizeof(uint32_t) + extra_bytes;
  }

  BlockKey Hash(const BlockKey& parent, const uint32_t* tokens,
                size_t token_count, absl::string_view extra) {
    const size_t size = MessageBytes(token_count, extra.size());
    if (message.size() < size) message.resize(size);
    std::byte* out = message.data() + kSha256Bytes;
    out = Append(out, &parent.lo, sizeof(parent.lo));
    out = Append(out, &parent.hi, sizeof(parent.hi));
    out = AppendU32(out, static_cast<uint32_t>(token_count));
    out = Append(out, tokens, token_count * sizeof(uint32_t));
    Append(out, extra.data(), extra.size());
    return KeyOf(context.Hash({message.data(), size}));
  }

  uint32_t block_tokens = 0;
  std::vector<std::byte> message;
  Sha256Context context;
};

KeyHasher::KeyHasher(const NamespaceSalt& salt, uint32_t group,
                     uint32_t block_tokens)
    : impl_(std::make_unique<Impl>()) {
  impl_->block_tokens = block_tokens;
  impl_->message.resize(Impl::MessageBytes(block_tokens, 0));
  std::byte named[sizeof(kTokenDomain) - 1 + sizeof(NamespaceSalt) +
                  sizeof(uint32_t)];
  std::byte* out = Append(named, kTokenDomain, sizeof(kTokenDomain) - 1);
  out = Append(out, salt.data(), salt.size());
  AppendU32(out, group);
  const Digest group_salt = impl_->context.Hash(named);
  Append(impl_->message.data(), group_salt.data(), group_salt.size());
}

KeyHasher::KeyHasher(KeyHasher&&) noexcept = default;
KeyHasher& KeyHasher::operator=(KeyHasher&&) noexcept = default;
KeyHasher::~KeyHasher() = default;

BlockKey KeyHasher::HashBlock(const BlockKey& parent,
                              std::span<const uint32_t> tokens,
                              absl::string_view extra) {
  return impl_->Hash(parent, tokens.data(), tokens.size(), extra);
}

void KeyHasher::HashBlocks(const BlockKey& parent,
                           std::span<const uint32_t> tokens,
                           std::vector<BlockKey>* keys,
                           absl::string_view extra) {
  const size_t block_tokens = impl_->block_tokens;
  if (block_tokens == 0) return;
  const size_t block_count = tokens.size() / block_tokens;
  BlockKey key = parent;  // copied: it may stand in `keys`
  if (keys->capacity() - keys->size() < block_count) {
    keys->reserve(std::max(keys->size() + block_count, keys->capacity() * 2));
  }
  for (size_t i = 0; i < block_count; ++i) {
    key =
        impl_->Hash(key, tokens.data() + i * block_tokens, block_tokens, extra);
    keys->push_back(key);
  }
}

absl::StatusOr<BlockKey> KeyFromDigest(const NamespaceSalt& salt,
                                       uint32_t group, DigestKind kind,
                                       std::span<const std::byte> digest) {
  if (kind == DigestKind::kCryptographic) {
    if (digest.size() < kDigestBytesMin) {
      return absl::InvalidArgumentError(
          absl::StrCat("key: a cryptographic digest of ", digest.size(),
                       " bytes, need at least ", kDigestBytesMin));
    }
    BlockKey key = Cut(digest);
    key.hi ^= Mix(group);
    return NotNone(key);
  }
  if (digest.empty()) {
    return absl::InvalidArgumentError(
        "key: a digest of 0 bytes, need at least 1");
  }
  std::byte prefix[sizeof(kDigestDomain) - 1 + sizeof(NamespaceSalt) +
                   2 * sizeof(uint32_t)];
  std::byte* out = Append(prefix, kDigestDomain, sizeof(kDigestDomain) - 1);
  out = Append(out, salt.data(), salt.size());
  out = AppendU32(out, group);
  AppendU32(out, static_cast<uint32_t>(digest.size()));
  thread_local Sha256Context context;
  return KeyOf(context.Hash(prefix, digest));
}

void sdk::CutDigests(uint32_t group, const std::byte* digests, size_t stride,
                     std::span<BlockKey> keys) {
  const uint64_t mixed = Mix(group);
  for (BlockKey& key : keys) {
    key = Cut({digests, kDigestBytesMin});
    key.hi ^= mixed;
    key = NotNone(key);
    digests += stride;
  }
}

}  // namespace kvferry
