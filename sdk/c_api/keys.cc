// Keys of blocks: text, hashers, an engine's digests.

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/key.h"
#include "kvferry/kvferry.h"
#include "protocol/limits.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/cut_digests.h"

struct kvf_hasher {
  kvferry::KeyHasher hasher;
  uint32_t block_tokens = 0;
};

namespace kvferry::c_api {
namespace {

NamespaceSalt SaltOf(const uint8_t* salt) {
  NamespaceSalt result;
  std::memcpy(result.data(), salt, result.size());
  return result;
}

absl::Status CheckHash(const kvf_hasher* hasher, const uint32_t* tokens,
                       size_t token_count, kvf_bytes extra) {
  KVFERRY_RETURN_IF_ERROR(NotNull(hasher, "hasher"));
  KVFERRY_RETURN_IF_ERROR(NotNull(tokens, token_count, "tokens"));
  return NotNull(extra.data, extra.length, "extra.data");
}

}  // namespace
}  // namespace kvferry::c_api

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

extern "C" {

kvf_status kvf_key_to_hex(const kvf_key* key, char* hex) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(key, "key"));
    KVFERRY_RETURN_IF_ERROR(NotNull(hex, "hex"));
    const std::string text = ToHex(KeyOrNone(key));
    std::memcpy(hex, text.c_str(), text.size() + 1);
    return absl::OkStatus();
  });
}

kvf_status kvf_key_from_hex(const char* hex, kvf_key* key) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(hex, "hex"));
    KVFERRY_RETURN_IF_ERROR(NotNull(key, "key"));
    KVFERRY_ASSIGN_OR_RETURN(const BlockKey parsed, ParseBlockKey(hex));
    *key = ToC(parsed);
    return absl::OkStatus();
  });
}

kvf_status kvf_hasher_create(const kvf_client* client, uint32_t group,
                             kvf_hasher** hasher) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(hasher, "hasher"));
    *hasher = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(CheckGroup(*client->shared, group));
    const uint32_t block_tokens =
        client->shared->spec.groups[group].block_tokens;
    *hasher = new kvf_hasher{
        KeyHasher(client->shared->client->info().salt, group, block_tokens),
        block_tokens};
    return absl::OkStatus();
  });
}

kvf_status kvf_hasher_create_for(const uint8_t* salt, uint32_t group,
                                 uint32_t block_tokens, kvf_hasher** hasher) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(hasher, "hasher"));
    *hasher = nullptr;
    KVFERRY_RETURN_IF_ERROR(NotNull(salt, "salt"));
    if (block_tokens == 0 || block_tokens > protocol::kBlockTokensMax) {
      return absl::InvalidArgumentError(
          absl::StrCat("block_tokens is ", block_tokens, ", must be 1 to ",
                       protocol::kBlockTokensMax));
    }
    *hasher = new kvf_hasher{KeyHasher(SaltOf(salt), group, block_tokens),
                             block_tokens};
    return absl::OkStatus();
  });
}

void kvf_hasher_destroy(kvf_hasher* hasher) { delete hasher; }

kvf_status kvf_hasher_hash_blocks(kvf_hasher* hasher, const kvf_key* parent,
                                  const uint32_t* tokens, size_t token_count,
                                  kvf_bytes extra, kvf_key* keys,
                                  size_t capacity, size_t* count) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(CheckHash(hasher, tokens, token_count, extra));
    KVFERRY_RETURN_IF_ERROR(NotNull(count, "count"));
    const size_t block_tokens = hasher->block_tokens;
    const size_t blocks = token_count / block_tokens;
    KVFERRY_RETURN_IF_ERROR(NotNull(keys, std::min(blocks, capacity), "keys"));
    *count = blocks;
    if (blocks > capacity) {
      return absl::OutOfRangeError(absl::StrCat("capacity is ", capacity,
                                                " keys, the tokens have ",
                                                blocks, " full blocks"));
    }
    BlockKey key = KeyOrNone(parent);
    for (size_t i = 0; i < blocks; ++i) {
      key = hasher->hasher.HashBlock(
          key, {tokens + i * block_tokens, block_tokens}, TextOf(extra));
      keys[i] = ToC(key);
    }
    return absl::OkStatus();
  });
}

kvf_status kvf_hasher_hash_block(kvf_hasher* hasher, const kvf_key* parent,
                                 const uint32_t* tokens, size_t token_count,
                                 kvf_bytes extra, kvf_key* key) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(CheckHash(hasher, tokens, token_count, extra));
    KVFERRY_RETURN_IF_ERROR(NotNull(key, "key"));
    if (token_count == 0 || token_count > hasher->block_tokens) {
      return absl::InvalidArgumentError(
          absl::StrCat("token_count is ", token_count, ", must be 1 to ",
                       hasher->block_tokens, ", a block's"));
    }
    *key = ToC(hasher->hasher.HashBlock(KeyOrNone(parent),
                                        {tokens, token_count}, TextOf(extra)));
    return absl::OkStatus();
  });
}

kvf_status kvf_keys_from_digests(const uint8_t* salt, uint32_t group,
                                 uint32_t kind, const void* digests,
                                 size_t digest_size, size_t stride,
                                 size_t count, kvf_key* keys) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(salt, "salt"));
    KVFERRY_RETURN_IF_ERROR(NotNull(digests, count, "digests"));
    KVFERRY_RETURN_IF_ERROR(NotNull(keys, count, "keys"));
    if (kind != KVF_DIGEST_CRYPTOGRAPHIC && kind != KVF_DIGEST_OTHER) {
      return absl::InvalidArgumentError(
          absl::StrCat("kind is ", kind, ", must be 0 or 1"));
    }
    if (count > 1 && stride < digest_size) {
      return absl::InvalidArgumentError(
          absl::StrCat("stride is ", stride, ", must be at least digest_size, ",
                       digest_size));
    }
    const NamespaceSalt namespace_salt = SaltOf(salt);
    const auto* const bytes = static_cast<const std::byte*>(digests);
    if (kind == KVF_DIGEST_CRYPTOGRAPHIC && digest_size >= sizeof(kvf_key)) {
      sdk::CutDigests(group, bytes, stride,
                      {reinterpret_cast<BlockKey*>(keys), count});
      return absl::OkStatus();
    }
    for (size_t i = 0; i < count; ++i) {
      KVFERRY_ASSIGN_OR_RETURN(
          const BlockKey key, KeyFromDigest(namespace_salt, group,
                                            kind == KVF_DIGEST_CRYPTOGRAPHIC
                                                ? DigestKind::kCryptographic
                                                : DigestKind::kOther,
                                            {bytes + i * stride, digest_size}));
      keys[i] = ToC(key);
    }
    return absl::OkStatus();
  });
}

}  // extern "C"
