#include "daemon/core/ticket.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "protocol/limits.h"

namespace kvferry::core {
namespace {

constexpr uint8_t kVersion = 1;
constexpr size_t kClaimBytes = 72;
constexpr size_t kMacBytes = 32;
constexpr size_t kTicketBytes = kClaimBytes + kMacBytes;
static_assert(kTicketBytes == 104);
static_assert(kTicketBytes <= protocol::kTicketBytesMax);

template <typename Integer>
void Put(Integer value, std::string* out) {
  for (size_t i = 0; i < sizeof(value); ++i) {
    out->push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }
}

template <typename Integer>
Integer Get(const unsigned char** at) {
  Integer value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value |= static_cast<Integer>(static_cast<Integer>((*at)[i]) << (8 * i));
  }
  *at += sizeof(value);
  return value;
}

std::array<unsigned char, kMacBytes> Mac(absl::string_view claims,
                                         const TicketSecret& secret) {
  std::array<unsigned char, kMacBytes> mac;
  unsigned int length = 0;
  KVFERRY_CHECK(HMAC(EVP_sha256(), secret.data(),
                     static_cast<int>(secret.size()),
                     reinterpret_cast<const unsigned char*>(claims.data()),
                     claims.size(), mac.data(), &length) != nullptr &&
                length == kMacBytes);
  return mac;
}

}  // namespace

std::string SealTicket(const TicketClaims& claims, const TicketSecret& secret) {
  std::string bytes;
  bytes.reserve(kTicketBytes);
  Put<uint32_t>(kVersion, &bytes);
  Put(claims.block_count, &bytes);
  bytes.append(reinterpret_cast<const char*>(claims.node.data()),
               claims.node.size());
  Put(claims.epoch, &bytes);
  Put(claims.namespace_id, &bytes);
  Put(claims.lease, &bytes);
  Put(claims.last_key.lo, &bytes);
  Put(claims.last_key.hi, &bytes);
  Put(claims.expiry_unix_ms, &bytes);
  KVFERRY_CHECK(bytes.size() == kClaimBytes);
  const auto mac = Mac(bytes, secret);
  bytes.append(reinterpret_cast<const char*>(mac.data()), mac.size());
  return bytes;
}

absl::StatusOr<TicketClaims> OpenTicket(absl::string_view bytes,
                                        const TicketSecret& secret) {
  if (bytes.size() != kTicketBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: ", bytes.size(), " bytes, must be ", kTicketBytes));
  }
  const auto* at = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto mac = Mac(bytes.substr(0, kClaimBytes), secret);
  if (CRYPTO_memcmp(mac.data(), at + kClaimBytes, kMacBytes) != 0) {
    return absl::PermissionDeniedError(
        "ticket: not this daemon's (its MAC does not verify)");
  }
  if (const auto version = Get<uint32_t>(&at); version != kVersion) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: version ", version, ", this daemon knows ", kVersion));
  }
  TicketClaims claims;
  claims.block_count = Get<uint32_t>(&at);
  std::memcpy(claims.node.data(), at, claims.node.size());
  at += claims.node.size();
  claims.epoch = Get<uint64_t>(&at);
  claims.namespace_id = Get<uint64_t>(&at);
  claims.lease = Get<uint64_t>(&at);
  claims.last_key.lo = Get<uint64_t>(&at);
  claims.last_key.hi = Get<uint64_t>(&at);
  claims.expiry_unix_ms = Get<uint64_t>(&at);
  return claims;
}

}  // namespace kvferry::core
