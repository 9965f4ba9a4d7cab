// Tickets on publications that are still under way.

#include "protocol/limits.h"
#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using testing::UnorderedElementsAre;

class LeaseTest : public CoreFixture {
 protected:
  void SetUp() override {
    Make(32);
    writer_ = Session(0);
    ASSERT_THAT(writer_->Open(1, 1), IsOk());
    ASSERT_THAT(writer_->Begin(1, 0, {Key(1), Key(2)}), IsOk());
    writer_->Tell(1, 0);
  }
  // A ticket for `keys` of the publication that writer_ has open as 1.
  absl::StatusOr<uint64_t> Mint(const std::vector<BlockKey>& keys) {
    LeaseRequest request = Request(keys);
    request.in_flight = true;
    request.session = 0;
    request.handle = 1;
    return core_->HoldLease(request);
  }
  absl::Status Extend(uint64_t lease, const std::vector<BlockKey>& keys,
                      uint32_t tail_tokens = 0, uint16_t session = 0) {
    return core_->ExtendLease(lease, session, keys, tail_tokens);
  }
  std::string HandOver(uint64_t lease) const {
    return core_->HandOverOf(*core_->FindLease(lease));
  }

  std::unique_ptr<TestSession> writer_;
};

TEST_F(LeaseTest, KeysAreHeldFromWhenTheyAreReady) {
  const auto lease = Mint({Key(1), Key(2), Key(3)});
  ASSERT_THAT(lease, IsOk());
  EXPECT_THAT(core_->FindLease(*lease)->blocks, IsEmpty());

  ASSERT_THAT(writer_->Commit(1, 0, 1), IsOk());
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
  ASSERT_THAT(writer_->Commit(1, 1, 1), IsOk());
  ASSERT_THAT(writer_->Begin(1, 2, {Key(3), Key(4)}), IsOk());
  ASSERT_THAT(writer_->Commit(1, 2, 2), IsOk());

  EXPECT_THAT(core_->FindLease(*lease)->blocks,
              UnorderedElementsAre(Find(Key(1)).block, Find(Key(2)).block,
                                   Find(Key(3)).block));
  EXPECT_THAT(core_->FindLease(*lease)->wanted, IsEmpty());
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 1u);  // the one it does not name
  EXPECT_FALSE(Ready(Key(4)));
  ASSERT_THAT(core_->ReleaseLease(*lease), IsOk());
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 3u);
}

TEST_F(LeaseTest, SomeReadySomeNot) {
  ASSERT_THAT(writer_->Commit(1, 0, 1), IsOk());

  const auto lease = Mint({Key(1), Key(2)});

  ASSERT_THAT(lease, IsOk());
  EXPECT_THAT(core_->FindLease(*lease)->blocks, SizeIs(1));
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
}

TEST_F(LeaseTest, WhoeverBringsTheKeyItIsHeld) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  auto other = Session(1);
  ASSERT_THAT(writer_->Abort(1, 0, 1), IsOk());

  Publish(*other, 5, {Key(1)});

  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
}

TEST_F(LeaseTest, WithoutInFlightTheFirstMissingKeyIsNamed) {
  EXPECT_THAT(core_->HoldLease(Request({Key(1)})),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("block 0")));
}

TEST_F(LeaseTest, AHandleThatIsNotOpenIsRefused) {
  const std::vector<BlockKey> keys = {Key(1)};
  LeaseRequest request = Request(keys);
  request.in_flight = true;
  request.handle = 77;
  EXPECT_THAT(core_->HoldLease(request),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("77")));
  request.handle = 1;
  request.session = 5;
  EXPECT_THAT(core_->HoldLease(request), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(LeaseTest, WantedKeysCountAgainstTheLimit) {
  std::vector<BlockKey> many;
  for (uint64_t i = 0; i < 17; ++i) many.push_back(Key(100 + i));
  EXPECT_THAT(Mint(many), StatusIs(absl::StatusCode::kResourceExhausted,
                                   HasSubstr("the limit is 16")));
  many.pop_back();
  EXPECT_THAT(Mint(many), IsOk());
  EXPECT_THAT(Mint({Key(1)}), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST_F(LeaseTest, AnEndedLeaseWantsNothingMore) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  core_->Tick(1000);
  ASSERT_EQ(core_->FindLease(*lease), nullptr);

  ASSERT_THAT(writer_->Commit(1, 0, 2), IsOk());

  EXPECT_EQ(core_->Evict("", 8, 1010).evicted, 2u);
  EXPECT_THAT(Mint({Key(1)}), IsOk());
}

TEST_F(LeaseTest, ClearEndsItToo) {
  ASSERT_THAT(Mint({Key(1), Key(3)}), IsOk());
  core_->Clear();

  ASSERT_THAT(writer_->Begin(1, 2, {Key(3)}), IsOk());
  ASSERT_THAT(writer_->Commit(1, 2, 1), IsOk());

  EXPECT_EQ(core_->lease_count(), 0u);
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 1u);
}

TEST_F(LeaseTest, MoreKeysAreAppended) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  ASSERT_THAT(writer_->Commit(1, 0, 2), IsOk());

  ASSERT_THAT(Extend(*lease, {Key(2), Key(3)}), IsOk());

  EXPECT_THAT(core_->FindLease(*lease)->keys,
              testing::ElementsAre(Key(1), Key(2), Key(3)));
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
  ASSERT_THAT(writer_->Begin(1, 2, {Key(3)}), IsOk());
  ASSERT_THAT(writer_->Commit(1, 2, 1), IsOk());
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
  ASSERT_THAT(core_->ReleaseLease(*lease), IsOk());
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 3u);
}

TEST_F(LeaseTest, WhatCannotBeAppendedIsRefusedAndChangesNothing) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  EXPECT_THAT(Extend(*lease, {Key(2)}, 0, /*session=*/1),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(Extend(*lease + 1, {Key(2)}),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Extend(*lease, {Key(2), Key(1)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice")));
  EXPECT_THAT(Extend(*lease, {}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Extend(*lease, {Key(2)}, 16),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16")));
  EXPECT_THAT(core_->FindLease(*lease)->keys, SizeIs(1));
}

TEST_F(LeaseTest, NothingFollowsATail) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());

  ASSERT_THAT(Extend(*lease, {Key(2)}, /*tail_tokens=*/5), IsOk());

  EXPECT_EQ(core_->FindLease(*lease)->tail_tokens, 5u);
  EXPECT_THAT(Extend(*lease, {Key(3)}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("tail")));
}

TEST_F(LeaseTest, OneOfReadyKeysIsExtendedByReadyOnesOnly) {
  ASSERT_THAT(writer_->Commit(1, 0, 1), IsOk());
  const std::vector<BlockKey> keys = {Key(1)};
  const auto lease = core_->HoldLease(Request(keys));
  ASSERT_THAT(lease, IsOk());

  EXPECT_THAT(Extend(*lease, {Key(2)}), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_THAT(writer_->Commit(1, 1, 1), IsOk());

  EXPECT_THAT(Extend(*lease, {Key(2)}), IsOk());
}

TEST_F(LeaseTest, ItNamesItsPublicationWhileThatIsOpen) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  const protocol::PublicationRef follow =
      core_->Follow(*core_->FindLease(*lease));
  EXPECT_EQ(follow.generation, writer_->generation(1));
  EXPECT_EQ(follow.slot, writer_->slot(1));

  ASSERT_THAT(writer_->Close(1), IsOk());

  EXPECT_FALSE(core_->Follow(*core_->FindLease(*lease)).followable());
}

TEST_F(LeaseTest, HandOverDataAreReadAsTheyComeAndKeptAfterTheClose) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  EXPECT_EQ(HandOver(*lease), "");

  writer_->SetHandOver(1, "first token");
  EXPECT_EQ(HandOver(*lease), "first token");
  writer_->SetHandOver(1, "the last counts");
  ASSERT_THAT(writer_->Close(1), IsOk());
  // The record is another's now.
  writer_->SetHandOver(1, "somebody else's");

  EXPECT_EQ(HandOver(*lease), "the last counts");
}

TEST_F(LeaseTest, TheyAreKeptWhenTheirWriterDies) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  writer_->SetHandOver(1, "a will");

  core_->RemoveSession(0, 10);

  EXPECT_EQ(HandOver(*lease), "a will");
}

TEST_F(LeaseTest, DataOfAnotherGenerationAreNotItsOwn) {
  const auto lease = Mint({Key(1)});
  ASSERT_THAT(lease, IsOk());
  writer_->SetHandOver(1, "stale");
  writer_->progress(writer_->Opened(1).blocks[0]).word =
      protocol::PackProgress({writer_->generation(1) + 1, 0, 0});

  EXPECT_EQ(HandOver(*lease), "");
  ASSERT_THAT(writer_->Close(1), IsOk());
  EXPECT_EQ(HandOver(*lease), "");
}

TEST_F(LeaseTest, WhatIsKnownWhenItIsMintedStays) {
  const std::vector<BlockKey> keys = {Key(1)};
  LeaseRequest request = Request(keys);
  request.in_flight = true;
  request.handle = 1;
  request.hand_over = "known";
  const auto lease = core_->HoldLease(request);
  ASSERT_THAT(lease, IsOk());
  writer_->SetHandOver(1, "later");

  ASSERT_THAT(writer_->Close(1), IsOk());

  EXPECT_EQ(HandOver(*lease), "known");
  request.hand_over.resize(protocol::kHandOverBytesMax + 1);
  request.handle = 0;
  EXPECT_THAT(core_->HoldLease(request),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("4097")));
}

}  // namespace
}  // namespace kvferry::core
