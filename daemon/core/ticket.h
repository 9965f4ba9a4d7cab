#ifndef KVFERRY_DAEMON_CORE_TICKET_H_
#define KVFERRY_DAEMON_CORE_TICKET_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvferry/key.h"

namespace kvferry::core {

// What a ticket says, and the 104 bytes it travels as:
//
//   u8 version = 1 | u8[3] zero | u32 block_count | u8[16] node |
//   u64 epoch | u64 namespace_id | u64 lease | u64 last_key.lo |
//   u64 last_key.hi | u64 expiry_unix_ms | u8[32] HMAC-SHA-256 of the rest
//
// integers little-endian; the key is the daemon's own secret.
struct TicketClaims {
  std::array<std::byte, 16> node{};
  uint64_t epoch = 0;
  uint64_t namespace_id = 0;
  uint64_t lease = 0;
  BlockKey last_key;
  uint32_t block_count = 0;
  uint64_t expiry_unix_ms = 0;

  friend bool operator==(const TicketClaims&, const TicketClaims&) = default;
};

using TicketSecret = std::array<std::byte, 32>;

std::string SealTicket(const TicketClaims& claims, const TicketSecret& secret);

// Errors  kInvalidArgument   not a ticket of this version
//         kPermissionDenied  the MAC is not ours
absl::StatusOr<TicketClaims> OpenTicket(absl::string_view bytes,
                                        const TicketSecret& secret);

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_TICKET_H_
