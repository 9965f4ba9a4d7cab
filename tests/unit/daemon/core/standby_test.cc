// Keys that two publications write: who takes whose place, and who gets what
// back.

#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {
namespace {

using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ResidenceState;
using test::IsOk;
using testing::ElementsAre;

class StandbyTest : public CoreFixture {
 protected:
  // Two sessions that write Key(1): the first is pending, the second stands by.
  void MakeTwo(uint32_t blocks = 16, uint32_t slices = 1) {
    Make(blocks, slices);
    const uint64_t all = (uint64_t{1} << slices) - 1;
    one_ = Session(0);
    two_ = Session(1);
    ASSERT_THAT(one_->Open(1, 1, all), IsOk());
    ASSERT_THAT(two_->OpenStandby(1, 2, all), IsOk());
    ASSERT_THAT(one_->Begin(1, 0, {Key(1)}), IsOk());
    ASSERT_THAT(two_->Begin(1, 0, {Key(1)}), IsOk());
    ASSERT_THAT(two_->Answers(), ElementsAre(PublishAnswer::kStandby));
    first_ = one_->AnsweredBlocks()[0];
    second_ = two_->AnsweredBlocks()[0];
    one_->replies.erase(one_->replies.begin() + 1, one_->replies.end());
  }

  std::unique_ptr<TestSession> one_;
  std::unique_ptr<TestSession> two_;
  uint32_t first_ = kNoBlock;
  uint32_t second_ = kNoBlock;
};

TEST_F(StandbyTest, TheSecondPublisherGetsABlockOfItsOwnWithoutAPlace) {
  MakeTwo();

  EXPECT_NE(first_, second_);
  EXPECT_EQ(Find(Key(1)).block, first_);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  EXPECT_EQ(core_->counts(0).publishing, 2u);
  EXPECT_EQ(core_->counters().standby_blocks, 1u);
}

TEST_F(StandbyTest, OnlyThoseThatAllowItStandBy) {
  MakeTwo();
  auto three = Session(2);
  ASSERT_THAT(three->Open(1, 3), IsOk());

  ASSERT_THAT(three->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_THAT(three->Answers(), ElementsAre(PublishAnswer::kInFlight));
}

TEST_F(StandbyTest, AKeyHasAtMostTwoStandbys) {
  static_assert(protocol::kStandbysPerKeyMax == 2);
  MakeTwo();
  auto three = Session(2);
  auto four = Session(3);
  ASSERT_THAT(three->OpenStandby(1, 3), IsOk());
  ASSERT_THAT(four->OpenStandby(1, 4), IsOk());

  ASSERT_THAT(three->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(four->Begin(1, 0, {Key(1), Key(2)}), IsOk());

  EXPECT_THAT(three->Answers(), ElementsAre(PublishAnswer::kStandby));
  EXPECT_THAT(four->Answers(),
              ElementsAre(PublishAnswer::kInFlight, PublishAnswer::kYours));
}

TEST_F(StandbyTest, WithoutAFreeBlockItIsInFlightAndNotNoSpace) {
  Make(1);
  auto one = Session(0);
  auto two = Session(1);
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1)}), IsOk());

  ASSERT_THAT(two->Begin(1, 0, {Key(1)}), IsOk());

  EXPECT_THAT(two->Answers(), ElementsAre(PublishAnswer::kInFlight));
}

TEST_F(StandbyTest, AnOfferedBlockIsTakenForIt) {
  Make(800);
  auto one = Session(0);
  auto two = Session(1);
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1)}), IsOk());
  const uint32_t mine = two->granted[0];

  ASSERT_THAT(two->Begin(1, 0, {Key(1)}, {mine}), IsOk());

  EXPECT_THAT(two->Answers(), ElementsAre(PublishAnswer::kStandby));
  EXPECT_FALSE(two->Return({mine}).ok());
}

TEST_F(StandbyTest, WhenTheFirstAbortsTheSecondTakesItsPlaceAsPending) {
  MakeTwo();
  const protocol::PublicationRef before = Ref(Key(1));
  ASSERT_EQ(before.generation, one_->generation(1));

  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_EQ(Find(Key(1)).block, second_);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  EXPECT_EQ(Ref(Key(1)).generation, two_->generation(1));
  EXPECT_EQ(core_->counters().adopted_blocks, 1u);
  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(two_->Answers().back(), PublishAnswer::kCommitted);
}

TEST_F(StandbyTest, WhatIsCommittedByThenIsReadyAtOnce) {
  MakeTwo();
  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());
  EXPECT_EQ(two_->Answers().back(), PublishAnswer::kCommitted);
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);

  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(1)).block, second_);
  EXPECT_EQ(core_->counts(0).free, 15u);
}

TEST_F(StandbyTest, OneSliceOfTwoIsNotEnoughToBeReady) {
  Make(16, 2);
  auto one = Session(0);
  auto rank0 = Session(1);
  auto rank1 = Session(2);
  ASSERT_THAT(one->Open(1, 1, 0b11), IsOk());
  ASSERT_THAT(rank0->OpenStandby(1, 2, 0b01), IsOk());
  ASSERT_THAT(rank1->OpenStandby(1, 2, 0b10), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank0->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(rank1->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_THAT(rank1->Answers(), ElementsAre(PublishAnswer::kStandby));
  EXPECT_EQ(rank0->AnsweredBlocks(), rank1->AnsweredBlocks());
  ASSERT_THAT(rank0->Commit(1, 0, 1), IsOk());

  ASSERT_THAT(one->Abort(1, 0, 1), IsOk());

  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kPending);
  ASSERT_THAT(rank1->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(StandbyTest, WhenTheFirstIsReadyTheSecondsBlockComesBackOnItsCommit) {
  MakeTwo();
  ASSERT_THAT(one_->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
  // Its writer may still be writing.
  EXPECT_EQ(core_->counts(0).quarantined, 1u);

  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());

  EXPECT_EQ(two_->Answers().back(), PublishAnswer::kExists);
  EXPECT_EQ(Find(Key(1)).block, first_);
  EXPECT_EQ(core_->counts(0).quarantined, 0u);
  EXPECT_EQ(core_->counts(0).free, 15u);
  EXPECT_EQ(core_->counters().adopted_blocks, 0u);
}

TEST_F(StandbyTest, OneThatWasCommittedBeforeComesBackAtOnce) {
  MakeTwo();
  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());

  ASSERT_THAT(one_->Commit(1, 0, 1), IsOk());

  EXPECT_EQ(Find(Key(1)).block, first_);
  EXPECT_EQ(core_->counts(0).free, 15u);
}

TEST_F(StandbyTest, TheOldestGoesFirstAndThenTheNext) {
  MakeTwo();
  auto three = Session(2);
  ASSERT_THAT(three->OpenStandby(1, 3), IsOk());
  ASSERT_THAT(three->Begin(1, 0, {Key(1)}), IsOk());
  const uint32_t third = three->AnsweredBlocks()[0];

  ASSERT_THAT(one_->Close(1), IsOk());
  EXPECT_EQ(Find(Key(1)).block, second_);
  core_->RemoveSession(1, 0);

  EXPECT_EQ(Find(Key(1)).block, third);
  ASSERT_THAT(three->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(core_->counters().adopted_blocks, 2u);
}

TEST_F(StandbyTest, OneThatIsGivenUpMakesRoomForAnother) {
  MakeTwo();
  auto three = Session(2);
  auto four = Session(3);
  ASSERT_THAT(three->OpenStandby(1, 3), IsOk());
  ASSERT_THAT(four->OpenStandby(1, 4), IsOk());
  ASSERT_THAT(three->Begin(1, 0, {Key(1)}), IsOk());

  ASSERT_THAT(two_->Abort(1, 0, 1), IsOk());
  ASSERT_THAT(four->Begin(1, 0, {Key(1)}), IsOk());
  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_EQ(two_->Answers().back(), PublishAnswer::kVoid);
  EXPECT_THAT(four->Answers(), ElementsAre(PublishAnswer::kStandby));
  EXPECT_EQ(Find(Key(1)).block, three->AnsweredBlocks()[0]);
}

TEST_F(StandbyTest, AStandbyKeepsItsParentWhenItIsAdopted) {
  Make(16);
  auto one = Session(0);
  auto two = Session(1);
  Publish(*one, 9, {Key(1)});
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(2)}, {}, Key(1)), IsOk());
  ASSERT_THAT(two->Begin(1, 0, {Key(2)}, {}, Key(1)), IsOk());

  ASSERT_THAT(one->Abort(1, 0, 1), IsOk());
  ASSERT_THAT(two->Commit(1, 0, 1), IsOk());

  // The tail goes before what it continues.
  EXPECT_EQ(core_->Evict("", 1, 10).evicted, 1u);
  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_FALSE(Ready(Key(2)));
}

TEST_F(StandbyTest, ItCountsAgainstWhatASessionMayWriteAtOnce) {
  Make(8);  // half of it at once
  auto one = Session(0);
  auto two = Session(1);
  ASSERT_THAT(one->Open(1, 1), IsOk());
  ASSERT_THAT(two->OpenStandby(1, 2), IsOk());
  ASSERT_THAT(one->Begin(1, 0, {Key(1), Key(2)}), IsOk());
  ASSERT_THAT(two->Begin(1, 0, {Key(1), Key(2), Key(3), Key(4)}), IsOk());

  ASSERT_THAT(two->Begin(1, 4, {Key(5)}), IsOk());
  EXPECT_EQ(two->Answers().back(), PublishAnswer::kNoSpace);
  // Superseded, it is charged until its writer has let go.
  ASSERT_THAT(one->Commit(1, 0, 2), IsOk());
  ASSERT_THAT(two->Begin(1, 5, {Key(6)}), IsOk());
  EXPECT_EQ(two->Answers().back(), PublishAnswer::kNoSpace);
  ASSERT_THAT(two->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(two->Begin(1, 6, {Key(7)}), IsOk());

  EXPECT_EQ(two->Answers().back(), PublishAnswer::kYours);
}

TEST_F(StandbyTest, TheFirstWritersDeathIsAnAbort) {
  MakeTwo();

  core_->RemoveSession(0, 0);

  EXPECT_EQ(Find(Key(1)).block, second_);
  EXPECT_EQ(core_->counts(0).quarantined, 0u);
}

TEST_F(StandbyTest, RevokingTheFirstIsAnAbortToo) {
  MakeTwo();

  core_->RevokeSession(0);

  EXPECT_EQ(Find(Key(1)).block, second_);
  EXPECT_EQ(core_->counts(0).quarantined, 1u);  // it may be writing its own
  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(StandbyTest, ARevokedStandbyIsNotAdopted) {
  MakeTwo();

  core_->RevokeSession(1);
  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  core_->RemoveSession(1, 0);
  EXPECT_EQ(core_->counts(0).free, 16u);
}

TEST_F(StandbyTest, ItsOwnCloseOrDeathGivesItsBlockBack) {
  MakeTwo();
  auto three = Session(2);
  ASSERT_THAT(three->OpenStandby(1, 3), IsOk());
  ASSERT_THAT(three->Begin(1, 0, {Key(1)}), IsOk());
  EXPECT_EQ(core_->counts(0).publishing, 3u);

  ASSERT_THAT(three->Close(1), IsOk());
  core_->RemoveSession(1, 0);

  EXPECT_EQ(core_->counts(0).publishing, 1u);
  EXPECT_EQ(core_->counts(0).free, 15u);
  ASSERT_THAT(one_->Commit(1, 0, 1), IsOk());
  EXPECT_TRUE(Ready(Key(1)));
}

TEST_F(StandbyTest, ACommittedOneWaitsAfterItsCloseForAWhile) {
  MakeTwo();
  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());
  ASSERT_THAT(two_->Close(1), IsOk());

  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_EQ(Find(Key(1)).block, second_);
}

// Goal    Nobody waits for a publication that has gone and has nothing left to
//         come, whatever became of its standby.
TEST_F(StandbyTest, WithItsLastOneAPublicationThatHasGoneEnds) {
  for (const bool superseded : {true, false}) {
    MakeTwo();
    ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());
    const uint32_t slot = two_->slot(1);
    ASSERT_THAT(two_->Close(1), IsOk());
    EXPECT_EQ(core_->publication_count(), 2u);
    (void)core_->TakeWakes();

    ASSERT_THAT(superseded ? one_->Commit(1, 0, 1) : one_->Abort(1, 0, 1),
                IsOk());

    EXPECT_TRUE(Ready(Key(1)));
    EXPECT_EQ(core_->publication_count(), 1u);
    EXPECT_EQ(publication(slot).phase,
              static_cast<uint32_t>(protocol::PublicationPhase::kEnded));
    EXPECT_THAT(core_->TakeWakes(),
                testing::Contains(&publication(slot).changes));
    EXPECT_THAT(core_->CheckInvariants(), IsOk());
  }
}

TEST_F(StandbyTest, ClearTakesBothAndNeitherComesBack) {
  MakeTwo();
  ASSERT_THAT(two_->Commit(1, 0, 1), IsOk());

  core_->Clear();
  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_EQ(Find(Key(1)).state, ResidenceState::kFree);
  EXPECT_EQ(core_->counts(0).free, 16u);
  EXPECT_EQ(core_->counters().adopted_blocks, 0u);
}

TEST_F(StandbyTest, ReadersOfTheFirstAreToldAndTheirPinKeepsItsBlock) {
  MakeTwo();
  auto reader = Session(2);
  reader->Pin(first_);
  (void)core_->TakeWakes();

  ASSERT_THAT(one_->Abort(1, 0, 1), IsOk());

  EXPECT_THAT(core_->TakeWakes(),
              testing::IsSupersetOf({&publication(one_->slot(1)).changes,
                                     &publication(two_->slot(1)).changes}));
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  reader->Unpin(first_);
  core_->Tick(50);
  EXPECT_EQ(core_->counts(0).free, 15u);
}

}  // namespace
}  // namespace kvferry::core
