#include "daemon/core/ticket.h"

#include "gmock/gmock.h"
#include "tests/support/status_matchers.h"

namespace kvferry::core {
namespace {

using test::IsOkAndHolds;
using test::StatusIs;

TicketSecret Secret(int fill) {
  TicketSecret secret;
  secret.fill(static_cast<std::byte>(fill));
  return secret;
}

TicketClaims Claims() {
  TicketClaims claims;
  claims.node.fill(std::byte{7});
  claims.epoch = 3;
  claims.namespace_id = 4;
  claims.lease = 5;
  claims.last_key = {6, 7};
  claims.block_count = 8;
  claims.expiry_unix_ms = 9;
  return claims;
}

TEST(TicketTest, OpensToWhatWasSealed) {
  EXPECT_THAT(OpenTicket(SealTicket(Claims(), Secret(1)), Secret(1)),
              IsOkAndHolds(Claims()));
}

TEST(TicketTest, AnotherSecretDoesNotOpenIt) {
  EXPECT_THAT(OpenTicket(SealTicket(Claims(), Secret(1)), Secret(2)),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST(TicketTest, EveryBitIsAuthentic) {
  const std::string sealed = SealTicket(Claims(), Secret(1));
  for (size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    std::string forged = sealed;
    forged[bit / 8] = static_cast<char>(forged[bit / 8] ^ (1 << bit % 8));
    EXPECT_THAT(OpenTicket(forged, Secret(1)),
                StatusIs(absl::StatusCode::kPermissionDenied))
        << "bit " << bit;
  }
}

TEST(TicketTest, OtherLengthsAreNoTickets) {
  const std::string sealed = SealTicket(Claims(), Secret(1));
  for (const std::string& bytes :
       {std::string(), sealed.substr(1), sealed + "x"}) {
    EXPECT_THAT(OpenTicket(bytes, Secret(1)),
                StatusIs(absl::StatusCode::kInvalidArgument));
  }
}

}  // namespace
}  // namespace kvferry::core
