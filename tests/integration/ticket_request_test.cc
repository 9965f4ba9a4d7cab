// Tickets as the daemon mints, extends and redeems them, and what it refuses.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/hex.h"
#include "protocol/limits.h"
#include "tests/integration/raw_publishing_fixture.h"

namespace kvferry::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

using Bytes = std::vector<uint8_t>;

constexpr absl::string_view kHandOver = "first token: 42";

class TicketRequestTest : public RawPublishingTest {
 protected:
  void SetUp() override {
    RawPublishingTest::SetUp();
    publisher_ = std::make_unique<RawSession>(Attach());
    ASSERT_TRUE(publisher_->Lock());
  }
  void TearDown() override {
    publisher_->connection.Send(wire::DetachT());
    RawPublishingTest::TearDown();
  }

  static wire::MintTicketT Mint(const std::vector<BlockKey>& keys) {
    wire::MintTicketT mint;
    for (const BlockKey& key : keys) mint.keys.emplace_back(key.lo, key.hi);
    mint.consumers = 1;
    mint.ttl_ms = 60 * 1000;
    return mint;
  }
  static wire::MintTicketT MintInFlight(const std::vector<BlockKey>& keys,
                                        uint32_t handle) {
    wire::MintTicketT mint = Mint(keys);
    mint.in_flight = true;
    mint.handle = handle;
    return mint;
  }
  static absl::StatusOr<Bytes> TicketOf(RawSession& session,
                                        wire::MintTicketT mint) {
    auto message = session.connection.Call(std::move(mint));
    if (!message.ok()) return message.status();
    return message->body.AsTicket()->bytes;
  }
  static absl::StatusOr<wire::TicketKeysT> Redeem(RawSession& session,
                                                  const Bytes& ticket,
                                                  uint32_t first_key = 0) {
    wire::RedeemTicketT redeem;
    redeem.ticket = ticket;
    redeem.first_key = first_key;
    auto message = session.connection.Call(std::move(redeem));
    if (!message.ok()) return message.status();
    return std::move(*message->body.AsTicketKeys());
  }
  static void Release(RawSession& session, const Bytes& ticket) {
    wire::ReleaseTicketT release;
    release.ticket = ticket;
    EXPECT_THAT(session.connection.Call(std::move(release)), IsOk());
  }
  // How many blocks of the key an operator may evict now.
  static wire::EvictedT Evict(const BlockKey& key) {
    wire::EvictT evict;
    evict.namespace_name = Spec().name;
    std::byte bytes[16];
    std::memcpy(bytes, &key.lo, 8);
    std::memcpy(bytes + 8, &key.hi, 8);
    evict.prefix = HexEncode(bytes);
    evict.limit = 10;
    const auto message = Connect().Call(std::move(evict));
    EXPECT_THAT(message, IsOk());
    return message.ok() ? *message->body.AsEvicted() : wire::EvictedT();
  }
  // Publishes keys, committed and seen to be.
  void Publish(uint32_t handle, const std::vector<BlockKey>& keys) {
    (void)Open(*publisher_, handle);
    Begin(*publisher_, handle, 0, keys);
    Commit(handle, 0, static_cast<uint32_t>(keys.size()));
    publisher_->PostClose(handle);
    publisher_->RingDoorbell();
  }
  void Commit(uint32_t handle, uint32_t first, uint32_t count) {
    publisher_->PostRange(SubmitType::kCommit, handle, first, count);
    publisher_->RingDoorbell();
    ASSERT_THAT(publisher_->TakeReply(protocol::ReplyType::kAnswer), IsOk());
  }
  void SetHandOver(const OpenedPublication& opened, absl::string_view bytes) {
    std::memcpy(publisher_->hand_over(opened.record), bytes.data(),
                bytes.size());
    SetProgress(*publisher_, opened, 0);
    publisher_->progress_record(opened.record)
        .hand_over_bytes.store(static_cast<uint32_t>(bytes.size()));
  }
  static std::string Text(const Bytes& bytes) {
    return {bytes.begin(), bytes.end()};
  }

  std::unique_ptr<RawSession> publisher_;
};

// --- in flight ---

TEST_F(TicketRequestTest,
       MintedInFlightItNamesThePublicationThatBringsTheRest) {
  const std::vector<BlockKey> keys = NewKeys(4);
  const OpenedPublication opened = Open(*publisher_, 1);
  Begin(*publisher_, 1, 0, std::span(keys).first(2));

  const auto ticket = TicketOf(*publisher_, MintInFlight(keys, 1));

  ASSERT_THAT(ticket, IsOk());
  const auto redeemed = Redeem(*bystander_, *ticket);
  ASSERT_THAT(redeemed, IsOk());
  EXPECT_EQ(redeemed->key_count, 4u);
  EXPECT_EQ(redeemed->publication_slot, opened.slot);
  EXPECT_EQ(redeemed->publication_generation, opened.generation);
  EXPECT_EQ(redeemed->tail_tokens, 0u);
  EXPECT_TRUE(redeemed->hand_over.empty());
}

TEST_F(TicketRequestTest, ItsBlocksAreHeldAsSoonAsTheyAreReady) {
  const std::vector<BlockKey> keys = NewKeys(2);
  (void)Open(*publisher_, 1);
  const auto ticket = TicketOf(*publisher_, MintInFlight(keys, 1));
  ASSERT_THAT(ticket, IsOk());

  Begin(*publisher_, 1, 0, keys);
  Commit(1, 0, 2);

  EXPECT_EQ(Evict(keys[1]).pinned, 1u);
  Release(*bystander_, *ticket);
  EXPECT_EQ(Evict(keys[1]).evicted, 1u);
}

// Goal    a client may mint right after it submitted its open.
// Method  more runs than one turn takes in stand before the open.
TEST_F(TicketRequestTest, AnOpenThatIsStillInTheRingCounts) {
  const std::vector<BlockKey> keys = NewKeys(1);
  ::kill(daemon_->pid(), SIGSTOP);
  for (int i = 0; i < 300; ++i) {
    publisher_->PostOpen(7, ++last_publication_);
    publisher_->PostClose(7);
  }
  publisher_->PostOpen(1, ++last_publication_);
  ASSERT_TRUE(publisher_->connection.Send(MintInFlight(keys, 1)));
  ::kill(daemon_->pid(), SIGCONT);

  absl::StatusOr<wire::MessageT> message;
  do {
    message = publisher_->connection.Receive();
    ASSERT_THAT(message, IsOk());
  } while (message->id == 0);

  ASSERT_NE(message->body.AsTicket(), nullptr)
      << message->body.AsError()->message;
  const auto redeemed = Redeem(*bystander_, message->body.AsTicket()->bytes);
  ASSERT_THAT(redeemed, IsOk());
  EXPECT_NE(redeemed->publication_generation, 0u);
}

TEST_F(TicketRequestTest, HandOverDataAreReadLiveAndOutliveTheirPublication) {
  const std::vector<BlockKey> keys = NewKeys(1);
  const OpenedPublication opened = Open(*publisher_, 1);
  Begin(*publisher_, 1, 0, keys);
  const auto ticket = TicketOf(*publisher_, MintInFlight(keys, 1));
  ASSERT_THAT(ticket, IsOk());

  SetHandOver(opened, kHandOver);

  auto redeemed = Redeem(*bystander_, *ticket);
  ASSERT_THAT(redeemed, IsOk());
  EXPECT_EQ(Text(redeemed->hand_over), kHandOver);

  Commit(1, 0, 1);
  publisher_->PostClose(1);
  publisher_->RingDoorbell();
  EXPECT_TRUE(Becomes([&] {
    redeemed = Redeem(*bystander_, *ticket);
    return redeemed.ok() && redeemed->publication_generation == 0;
  }));
  EXPECT_EQ(Text(redeemed->hand_over), kHandOver);
}

TEST_F(TicketRequestTest, HandOverDataKnownAtTheMintTravelWithIt) {
  const std::vector<BlockKey> keys = NewKeys(3);
  Publish(1, keys);
  wire::MintTicketT mint = Mint(keys);
  mint.hand_over.assign(protocol::kHandOverBytesMax, 'h');
  mint.tail_tokens = 5;

  const auto ticket = TicketOf(*publisher_, std::move(mint));

  ASSERT_THAT(ticket, IsOk());
  auto redeemed = Redeem(*bystander_, *ticket);
  ASSERT_THAT(redeemed, IsOk());
  EXPECT_EQ(redeemed->hand_over, Bytes(protocol::kHandOverBytesMax, 'h'));
  EXPECT_EQ(redeemed->tail_tokens, 5u);
  EXPECT_EQ(redeemed->publication_generation, 0u);
  // With the first keys only.
  redeemed = Redeem(*bystander_, *ticket, /*first_key=*/1);
  ASSERT_THAT(redeemed, IsOk());
  EXPECT_EQ(redeemed->keys.size(), 2u);
  EXPECT_EQ(redeemed->tail_tokens, 5u);
  EXPECT_TRUE(redeemed->hand_over.empty());
}

TEST_F(TicketRequestTest, WithoutInFlightEveryBlockMustBeReady) {
  const std::vector<BlockKey> keys = NewKeys(2);
  (void)Open(*publisher_, 1);
  Begin(*publisher_, 1, 0, keys);

  EXPECT_THAT(TicketOf(*publisher_, Mint(keys)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("block 0")));
}

// --- extend ---

TEST_F(TicketRequestTest, AnExtendedTicketHasAllKeysWhicheverOneIsRedeemed) {
  const std::vector<BlockKey> keys = NewKeys(6);
  (void)Open(*publisher_, 1);
  const auto first =
      TicketOf(*publisher_, MintInFlight({keys.begin(), keys.begin() + 2}, 1));
  ASSERT_THAT(first, IsOk());
  wire::MintTicketT more = Mint({keys.begin() + 2, keys.begin() + 4});
  more.extend = *first;
  // Of the other fields only the tail counts.
  more.group = 200;
  more.consumers = 0;
  more.ttl_ms = 0;
  const auto second = TicketOf(*publisher_, std::move(more));
  ASSERT_THAT(second, IsOk());
  EXPECT_NE(*second, *first);
  // From the first ticket again: the lease is what grows.
  more = Mint({keys.begin() + 4, keys.end()});
  more.extend = *first;
  more.tail_tokens = 3;
  const auto third = TicketOf(*publisher_, std::move(more));
  ASSERT_THAT(third, IsOk());

  for (const Bytes& ticket : {*first, *second, *third}) {
    const auto redeemed = Redeem(*bystander_, ticket);
    ASSERT_THAT(redeemed, IsOk());
    ASSERT_EQ(redeemed->key_count, keys.size());
    for (size_t i = 0; i < keys.size(); ++i) {
      EXPECT_EQ(redeemed->keys[i].lo(), keys[i].lo) << i;
      EXPECT_EQ(redeemed->keys[i].hi(), keys[i].hi) << i;
    }
    EXPECT_EQ(redeemed->tail_tokens, 3u);
  }
}

TEST_F(TicketRequestTest, OnlyWhoMintedItExtendsIt) {
  const std::vector<BlockKey> keys = NewKeys(2);
  (void)Open(*publisher_, 1);
  const auto ticket = TicketOf(*publisher_, MintInFlight({keys[0]}, 1));
  ASSERT_THAT(ticket, IsOk());
  wire::MintTicketT more = Mint({keys[1]});
  more.extend = *ticket;

  EXPECT_THAT(TicketOf(*bystander_, std::move(more)),
              StatusIs(absl::StatusCode::kPermissionDenied,
                       HasSubstr("another session")));
}

TEST_F(TicketRequestTest, WhatCannotBeExtendedIsRefused) {
  const std::vector<BlockKey> keys = NewKeys(2);
  (void)Open(*publisher_, 1);
  wire::MintTicketT tailed = MintInFlight({keys[0]}, 1);
  tailed.tail_tokens = 3;
  const auto with_tail = TicketOf(*publisher_, std::move(tailed));
  ASSERT_THAT(with_tail, IsOk());
  const auto released = TicketOf(*publisher_, MintInFlight({keys[0]}, 1));
  ASSERT_THAT(released, IsOk());
  Release(*publisher_, *released);
  Bytes forged = *with_tail;
  forged[40] ^= 1;
  struct {
    Bytes ticket;
    absl::StatusCode code;
    std::string reason;
  } cases[] = {
      {*with_tail, absl::StatusCode::kInvalidArgument, "ends in a tail"},
      {*released, absl::StatusCode::kNotFound, "expired or used up"},
      {forged, absl::StatusCode::kPermissionDenied, "MAC"},
      {Bytes(7, 1), absl::StatusCode::kInvalidArgument, "7 bytes"},
      {Bytes(257, 1), absl::StatusCode::kInvalidArgument, "257 bytes"},
  };

  for (const auto& c : cases) {
    wire::MintTicketT more = Mint({keys[1]});
    more.extend = c.ticket;
    EXPECT_THAT(TicketOf(*publisher_, std::move(more)),
                StatusIs(c.code, HasSubstr(c.reason)))
        << c.reason;
  }
}

// --- values that no SDK sends ---

TEST_F(TicketRequestTest, EveryFieldBeyondItsLimitIsRefusedWithBoth) {
  const std::vector<BlockKey> keys = NewKeys(2);
  Publish(1, keys);
  const uint32_t leases = Namespace().leases;
  struct {
    std::string value;
    std::string limit;
    void (*spoil)(wire::MintTicketT* mint);
  } cases[] = {
      {"0 keys", "2048", [](auto* mint) { mint->keys.clear(); }},
      {"2049 keys", "2048",
       [](auto* mint) { mint->keys.resize(2049, mint->keys[0]); }},
      {"group 200", "1", [](auto* mint) { mint->group = 200; }},
      {"0 consumers", "1024", [](auto* mint) { mint->consumers = 0; }},
      {"1025 consumers", "1024", [](auto* mint) { mint->consumers = 1025; }},
      {"0 ms", "600000", [](auto* mint) { mint->ttl_ms = 0; }},
      {"600001 ms", "600000", [](auto* mint) { mint->ttl_ms = 600001; }},
      {"tail of 16", "16", [](auto* mint) { mint->tail_tokens = 16; }},
      {"4294967295", "16", [](auto* mint) { mint->tail_tokens = ~0u; }},
      {"4097 bytes", "4096", [](auto* mint) { mint->hand_over.resize(4097); }},
      {"block 1", "named twice",
       [](auto* mint) { mint->keys[1] = mint->keys[0]; }},
  };

  for (const auto& c : cases) {
    wire::MintTicketT mint = Mint(keys);
    c.spoil(&mint);
    EXPECT_THAT(TicketOf(*publisher_, std::move(mint)),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(c.value), HasSubstr(c.limit))))
        << c.value;
  }
  EXPECT_EQ(Namespace().leases, leases);
  EXPECT_TRUE(IsServed(*publisher_));
}

TEST_F(TicketRequestTest, AHandleThatIsNotTheSessionsIsNotFound) {
  const std::vector<BlockKey> keys = NewKeys(1);
  (void)Open(*publisher_, 5);

  EXPECT_THAT(
      TicketOf(*publisher_, MintInFlight(keys, 6)),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("publication handle 6")));
  EXPECT_THAT(
      TicketOf(*bystander_, MintInFlight(keys, 5)),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("publication handle 5")));
}

// What breaks the protocol does so also when a mint takes it in.
TEST_F(TicketRequestTest, ABadRecordBeforeAMintRevokesTheSession) {
  RawSession session = Attach();
  ::kill(daemon_->pid(), SIGSTOP);
  for (int i = 0; i < 300; ++i) {
    session.PostOpen(7, ++last_publication_);
    session.PostClose(7);
  }
  SubmitRecord bad{};
  bad.type = 200;
  session.Post(bad);
  ASSERT_TRUE(session.connection.Send(MintInFlight(NewKeys(1), 1)));
  ::kill(daemon_->pid(), SIGCONT);

  ExpectRevoked(session, "200");
}

TEST_F(TicketRequestTest, AFirstKeyBeyondTheLastIsRefusedWithBoth) {
  const auto ticket = TicketOf(*bystander_, [] {
    wire::MintTicketT mint = Mint(NewKeys(3));
    mint.in_flight = true;
    return mint;
  }());
  ASSERT_THAT(ticket, IsOk());

  EXPECT_THAT(
      Redeem(*bystander_, *ticket, 3),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("key 3 of 3")));
}

}  // namespace
}  // namespace kvferry::test
