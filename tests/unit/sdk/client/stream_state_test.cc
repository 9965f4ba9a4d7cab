#include "sdk/stream_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/allocation_counter.h"
#include "tests/unit/sdk/client/stream_fixture.h"

namespace kvferry::sdk {
namespace {

using protocol::ResidenceState;
using test::IsOk;
using test::IsOkAndHolds;
using test::NumberedKey;
using test::StatusIs;
using testing::HasSubstr;

class StreamStateTest : public StreamFixture {
 protected:
  StreamState stream_;
};

TEST_F(StreamStateTest, ReadyBlocksAreOkAndDoneAtOnce) {
  std::vector<uint32_t> blocks;
  for (uint64_t n = 0; n < 40; ++n) blocks.push_back(PutReady(n));

  ASSERT_THAT(Start(&stream_, Keys(0, 40)), IsOk());

  EXPECT_EQ(stream_.ok_blocks(), 40);
  EXPECT_EQ(stream_.ok_tokens(), 640);
  EXPECT_TRUE(stream_.done());
  EXPECT_THAT(stream_.status(), IsOk());
  EXPECT_EQ(stream_.page(3, 0).data(), fake_.Page(0, blocks[3]));
  EXPECT_EQ(stream_.page(3, 0).size(), kPageBytes);
  EXPECT_TRUE(stream_.page(40, 0).empty());
  EXPECT_TRUE(stream_.page(0, 1).empty());
  EXPECT_EQ(fake_.pin_sum(), 40);
  EXPECT_FALSE(stream_.Poll());
}

TEST_F(StreamStateTest, APendingBlockIsOkOnceItsWriterHasPassedIt) {
  PutReady(100);
  Open(kSlot, kGeneration);
  SetWriter(kSlot, 0, 7, 3);
  Pass(writer(), kGeneration, 0);
  for (uint32_t p = 0; p < 4; ++p) PutPending(101 + p, At(p));

  ASSERT_THAT(Start(&stream_, Keys(100, 5)), IsOk());
  EXPECT_EQ(stream_.block_count(), 5);
  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_FALSE(stream_.Poll());

  Pass(writer(), kGeneration, 2);
  EXPECT_TRUE(stream_.Poll());
  EXPECT_EQ(stream_.ok_blocks(), 3);
  EXPECT_FALSE(stream_.done());

  Pass(writer(), kGeneration, 4);
  EXPECT_TRUE(stream_.Poll());
  EXPECT_EQ(stream_.ok_blocks(), 5);
  EXPECT_TRUE(stream_.done());
  EXPECT_EQ(stream_.Confirm(5), 5);
}

TEST_F(StreamStateTest, WithoutInFlightItIsAMatch) {
  PutReady(0);
  OpenOne(0);
  PutPending(1, At(0));
  StreamOptions options;
  options.include_in_flight = false;

  ASSERT_THAT(Start(&stream_, Keys(0, 2), options), IsOk());

  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_TRUE(stream_.done());
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(fake_.pin_sum(), 1);
}

TEST_F(StreamStateTest, OnlyThePrefixCounts) {
  OpenOne(4);
  MakeReady(2);
  MakeReady(3);

  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 0);

  MakeReady(0);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 1);

  Pass(writer(), kGeneration, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 4);
}

TEST_F(StreamStateTest, ARefusedArgumentIsNamed) {
  EXPECT_THAT(Start(&stream_, {}), StatusIs(absl::StatusCode::kInvalidArgument,
                                            HasSubstr("0 keys")));
  StreamOptions options;
  options.group = 2;
  EXPECT_THAT(Start(&stream_, Keys(0, 1), options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("group 2, the namespace has 2")));
  options = {};
  options.tail_tokens = 16;
  EXPECT_THAT(Start(&stream_, Keys(0, 1), options),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("a tail of 16 tokens")));
  options = {};
  options.publication = {.slot = 4096, .generation = 1};
  EXPECT_THAT(
      Start(&stream_, Keys(0, 1), options),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("slot 4096")));
  PutReady(0);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  EXPECT_THAT(stream_.WaitChunk(2, absl::InfinitePast()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("2 blocks, it has 1")));
  EXPECT_THAT(
      stream_.WaitLayer(1, 5, absl::InfinitePast()),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("5 layers")));
}

TEST_F(StreamStateTest, NothingThereIsNotFound) {
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());
  EXPECT_TRUE(stream_.done());
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("key 0 of 3")));
}

TEST_F(StreamStateTest, ATailCountsWithItsTokens) {
  PutReady(0);
  OpenOne(0);
  PutPending(1, At(0));
  StreamOptions options;
  options.tail_tokens = 5;
  ASSERT_THAT(Start(&stream_, Keys(0, 2), options), IsOk());
  EXPECT_EQ(stream_.ok_tokens(), 16);

  Pass(writer(), kGeneration, 1);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_tokens(), 21);
}

// --- whom to believe ---

TEST_F(StreamStateTest, AProgressRecordOfAnotherPublicationSaysNothing) {
  OpenOne(2);
  Pass(writer(), kGeneration - 1, 2);

  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 0);

  Pass(writer(), kGeneration, 1);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 1);

  // The writer has closed, and its record is the next one's.
  Pass(writer(), kGeneration + 1, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 1);
}

TEST_F(StreamStateTest, ARecordOfAnotherPublicationSaysNothingOfItsWriters) {
  OpenOne(2);
  Pass(writer(), kGeneration, 2);
  // The slot is taken by the next one, whose writer is this record, too.
  record(kSlot).generation.store(kGeneration + 1);

  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 0);

  Erase(0);
  Settle(&stream_);
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(StreamStateTest, AProgressFileThatChangedHandsIsFoundAnew) {
  OpenOne(1);
  Pass(writer(), kGeneration - 1, 0);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 0);

  // The number is another session's now.
  Pass(progress(9, 3), kGeneration, 1);
  attachment_->progress_files().Enter(7, File(9));
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_blocks(), 1);
}

TEST_F(StreamStateTest, EverySliceMustBePassed) {
  Open(kSlot, kGeneration);
  SetWriter(kSlot, 0, 7, 3);
  for (uint32_t p = 0; p < 3; ++p) PutPending(p, At(p), /*group=*/1);
  Pass(writer(), kGeneration, 3);
  StreamOptions options;
  options.group = 1;
  ASSERT_THAT(Start(&stream_, Keys(0, 3), options), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 0) << "nobody writes slice 1 yet";

  SetWriter(kSlot, 1, 8, 0);
  Pass(progress(8, 0), kGeneration, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);

  // A writer that has gone keeps what was seen of it.
  RemoveWriter(kSlot, 0);
  Pass(progress(8, 0), kGeneration, 3);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 3);
}

TEST_F(StreamStateTest, AGroupWithOneSliceWaitsForEveryWriter) {
  OpenOne(2);
  SetWriter(kSlot, 1, 8, 0);
  Pass(writer(), kGeneration, 2);
  Pass(progress(8, 0), kGeneration, 1);

  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 1);
  GiveUp(writer(), kGeneration);
  Settle(&stream_);
  EXPECT_THAT(stream_.status(), IsOk()) << "the block may be the other's";

  Pass(progress(8, 0), kGeneration, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);
}

// Goal    A block that another writer begins after the first one's word has
//         passed its position, as not its to write, is that other's to pass.
TEST_F(StreamStateTest, AWriterThatComesLaterIsAskedToo) {
  OpenOne(1);
  Pass(writer(), kGeneration, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 1);

  SetWriter(kSlot, 1, 8, 0);
  Pass(progress(8, 0), kGeneration, 0);
  PutPending(1, At(1));
  Changed(kSlot);
  Settle(&stream_);
  EXPECT_EQ(stream_.block_count(), 2);
  EXPECT_EQ(stream_.ok_blocks(), 1);

  Pass(progress(8, 0), kGeneration, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);
}

TEST_F(StreamStateTest, ASuccessorOfADeadWriterBeginsAnew) {
  Open(kSlot, kGeneration);
  SetWriter(kSlot, 0, 7, 3);
  SetWriter(kSlot, 1, 8, 0);
  for (uint32_t p = 0; p < 2; ++p) PutPending(p, At(p), /*group=*/1);
  Pass(writer(), kGeneration, 2);
  Pass(progress(8, 0), kGeneration, 1);
  StreamOptions options;
  options.group = 1;
  ASSERT_THAT(Start(&stream_, Keys(0, 2), options), IsOk());
  EXPECT_EQ(stream_.ok_blocks(), 1);

  RemoveWriter(kSlot, 0);
  SetWriter(kSlot, 0, 9, 0);
  Pass(progress(9, 0), kGeneration, 1);
  Pass(progress(8, 0), kGeneration, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 1) << "the dead writer's word is not its";

  Pass(progress(9, 0), kGeneration, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);
}

TEST_F(StreamStateTest, APublicationThatCannotBeFollowedIsWaitedForInTheIndex) {
  PutPending(0, {});
  PutPending(1, {});
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(stream_.block_count(), 2);
  EXPECT_EQ(stream_.ok_blocks(), 0);

  MakeReady(0);
  MakeReady(1);

  EXPECT_THAT(stream_.WaitChunk(2, absl::Now() + absl::Seconds(5)), IsOk());
}

TEST_F(StreamStateTest, ABlockThatRetiresUnderItsPinIsNotTaken) {
  PutReady(0);
  ASSERT_TRUE(fake_.SetState(NumberedKey(0), ResidenceState::kRetiring));
  OpenOne(0);
  ASSERT_THAT(Start(&stream_, Keys(0, 1), Hint()), IsOk());
  EXPECT_EQ(stream_.block_count(), 0);
  EXPECT_EQ(fake_.pin_sum(), 0);
  EXPECT_FALSE(stream_.done());

  MakeReady(0);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_blocks(), 1);
}

// --- keys to come ---

TEST_F(StreamStateTest, KeysOfTheHintedPublicationAreWaitedFor) {
  OpenOne(0);
  ASSERT_THAT(Start(&stream_, Keys(0, 4), Hint()), IsOk());
  EXPECT_EQ(stream_.block_count(), 0);
  EXPECT_FALSE(stream_.done());

  PutPending(0, At(0));
  PutPending(1, At(1));
  Changed(kSlot);
  Settle(&stream_);
  EXPECT_EQ(stream_.block_count(), 2);

  Pass(writer(), kGeneration, 2);
  PutPending(2, At(2));
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);
  EXPECT_EQ(stream_.block_count(), 3);

  // It ends shorter than it announced.
  MakeReady(0);
  MakeReady(1);
  MakeReady(2);
  End(kSlot);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 3);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kNotFound,
                       HasSubstr("key 3 of 4 is not there, and the publ")));
}

TEST_F(StreamStateTest, WithoutAHintTheBlocksInFlightLeadToTheNextOnes) {
  OpenOne(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  MakeReady(0);
  Settle(&stream_);
  EXPECT_FALSE(stream_.done());

  PutReady(1);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);
}

TEST_F(StreamStateTest, AnEndedPublicationIsLookedUpOnceMore) {
  OpenOne(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2), Hint()), IsOk());

  MakeReady(0);
  PutReady(1);
  End(kSlot);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_blocks(), 2);
  EXPECT_THAT(stream_.status(), IsOk());
}

TEST_F(StreamStateTest, ALateReaderFindsEverythingReady) {
  OpenOne(3);
  Pass(writer(), kGeneration, 3);
  for (uint64_t n = 0; n < 3; ++n) MakeReady(n);
  End(kSlot);

  ASSERT_THAT(Start(&stream_, Keys(0, 3), Hint()), IsOk());

  EXPECT_TRUE(stream_.done());
  EXPECT_EQ(stream_.ok_blocks(), 3);
}

// --- layers ---

TEST_F(StreamStateTest, LayersOfTheChunkAreTold) {
  OpenOne(6);
  ASSERT_THAT(Start(&stream_, Keys(0, 6)), IsOk());
  EXPECT_EQ(stream_.layered_end(), 0);
  EXPECT_EQ(stream_.ok_layers(), 0);

  PassLayers(writer(), kGeneration, 0, 4, 1);
  EXPECT_TRUE(stream_.Poll());
  EXPECT_EQ(stream_.ok_blocks(), 0);
  EXPECT_EQ(stream_.layered_end(), 4);
  EXPECT_EQ(stream_.ok_layers(), 1);

  PassLayers(writer(), kGeneration, 0, 4, 9);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_layers(), 4) << "as many as a page has";
  EXPECT_THAT(stream_.WaitLayer(4, 3, absl::InfinitePast()), IsOk());

  Pass(writer(), kGeneration, 4);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 4);
  EXPECT_EQ(stream_.layered_end(), 4);
  EXPECT_EQ(stream_.ok_layers(), 0);
}

TEST_F(StreamStateTest, LayersOfSeveralWritersAreThoseOfTheSlowest) {
  Open(kSlot, kGeneration);
  SetWriter(kSlot, 0, 7, 3);
  SetWriter(kSlot, 1, 8, 0);
  for (uint32_t p = 0; p < 4; ++p) PutPending(p, At(p), /*group=*/1);
  PassLayers(writer(), kGeneration, 0, 4, 3);
  Pass(progress(8, 0), kGeneration, 0);
  StreamOptions options;
  options.group = 1;
  ASSERT_THAT(Start(&stream_, Keys(0, 4), options), IsOk());
  EXPECT_EQ(stream_.ok_layers(), 0);

  PassLayers(progress(8, 0), kGeneration, 0, 4, 2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_layers(), 2);

  Pass(writer(), kGeneration, 4);
  PassLayers(progress(8, 0), kGeneration, 0, 4, 3);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_layers(), 3);
  EXPECT_EQ(stream_.layered_end(), 4);
  EXPECT_EQ(stream_.ok_blocks(), 0);
}

TEST_F(StreamStateTest, ALayeredChunkThatFailsLeavesNothing) {
  OpenOne(4);
  PassLayers(writer(), kGeneration, 0, 4, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());
  ASSERT_EQ(stream_.ok_layers(), 2);

  GiveUp(writer(), kGeneration);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_layers(), 0);
  EXPECT_EQ(stream_.layered_end(), 0);
}

// --- waits ---

TEST_F(StreamStateTest, ADeadlineLeavesTheStreamGoing) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  EXPECT_THAT(stream_.WaitChunk(1, absl::Now() + absl::Milliseconds(3)),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(stream_.WaitLayer(1, 1, absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(stream_.WaitCommitted(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(stream_.WaitChange(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  Pass(writer(), kGeneration, 2);
  EXPECT_THAT(stream_.WaitChunk(2, absl::Now() + absl::Seconds(5)), IsOk());
}

TEST_F(StreamStateTest, CommittedIsMoreThanOk) {
  OpenOne(2);
  Pass(writer(), kGeneration, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  ASSERT_TRUE(stream_.done());
  EXPECT_THAT(stream_.WaitCommitted(absl::InfinitePast()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));

  MakeReady(0);
  MakeReady(1);

  EXPECT_THAT(stream_.WaitCommitted(absl::InfinitePast()), IsOk());
}

TEST_F(StreamStateTest, WithoutADaemonNobodyCommits) {
  OpenOne(1);
  Pass(writer(), kGeneration, 1);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());

  attachment_->MarkLost();

  EXPECT_THAT(stream_.WaitCommitted(absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_THAT(stream_.status(), IsOk());
}

TEST_F(StreamStateTest, WithoutADaemonASilentPublisherIsGivenASecond) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  attachment_->MarkLost();
  Pass(writer(), kGeneration, 1);

  const absl::Time begin = absl::Now();
  EXPECT_THAT(stream_.WaitChunk(2, begin + absl::Seconds(30)),
              StatusIs(absl::StatusCode::kUnavailable));

  EXPECT_GE(absl::Now() - begin, absl::Seconds(1));
  EXPECT_LE(absl::Now() - begin, absl::Seconds(10));
  EXPECT_EQ(stream_.ok_blocks(), 1);
}

TEST_F(StreamStateTest, AnEmptyStreamWaitsForNothing) {
  EXPECT_THAT(stream_.WaitChunk(0, absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_FALSE(stream_.Poll());
  EXPECT_EQ(stream_.Confirm(1), 0);
}

// --- pins ---

TEST_F(StreamStateTest, PinsGoBackInEveryWay) {
  OpenOne(4);
  {
    StreamState destroyed;
    ASSERT_THAT(Start(&destroyed, Keys(0, 4)), IsOk());
    EXPECT_EQ(fake_.pin_sum(), 4);
  }
  EXPECT_EQ(fake_.pin_sum(), 0);

  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());
  stream_.Release();
  EXPECT_EQ(fake_.pin_sum(), 0);
  EXPECT_EQ(stream_.key_count(), 0);

  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_EQ(fake_.pin_sum(), 2);

  // A failed stream keeps them until it is released.
  GiveUp(writer(), kGeneration);
  Settle(&stream_);
  ASSERT_FALSE(stream_.status().ok());
  EXPECT_EQ(fake_.pin_sum(), 2);
  ASSERT_FALSE(Start(&stream_, {}).ok());
  EXPECT_EQ(fake_.pin_sum(), 0);
}

TEST_F(StreamStateTest, TooManyPinsOfABlockEndTheStreamBeforeIt) {
  PutReady(0);
  const uint32_t block = PutReady(1);
  fake_.memory().pins[block].store(protocol::kPinsPerBlockMax);

  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_EQ(fake_.pins(block), protocol::kPinsPerBlockMax);
}

TEST_F(StreamStateTest, ALookAllocatesNothing) {
  OpenOne(100);
  ASSERT_THAT(Start(&stream_, Keys(0, 200), Hint()), IsOk());
  uint32_t ok = 0;
  test::AllocationCounter::Start();

  for (uint32_t p = 1; p <= 100; ++p) {
    Pass(writer(), kGeneration, p);
    stream_.Poll();
    ok += stream_.ok_blocks();
  }

  EXPECT_EQ(test::AllocationCounter::Stop(), 0);
  EXPECT_EQ(ok, 5050);
}

// --- hand-over data ---

TEST_F(StreamStateTest, HandOverDataComeWithTheBlocks) {
  OpenOne(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  EXPECT_THAT(stream_.hand_over(), StatusIs(absl::StatusCode::kNotFound));

  SetHandOver(7, 3, "first token 42");
  Pass(writer(), kGeneration, 1);
  Settle(&stream_);
  ASSERT_TRUE(stream_.done());
  EXPECT_THAT(stream_.hand_over(), IsOkAndHolds(std::string("first token 42")));

  // The record is the next publication's: what was there at the end stays.
  Pass(writer(), kGeneration + 1, 0);
  SetHandOver(7, 3, "another prompt's");
  EXPECT_THAT(stream_.hand_over(), IsOkAndHolds(std::string("first token 42")));
}

TEST_F(StreamStateTest, AReaderThatComesAfterTheEndHasNoHandOverData) {
  OpenOne(1);
  SetHandOver(7, 3, "gone");
  MakeReady(0);
  End(kSlot);
  ASSERT_THAT(Start(&stream_, Keys(0, 1), Hint()), IsOk());

  EXPECT_THAT(stream_.hand_over(), StatusIs(absl::StatusCode::kNotFound));
}

}  // namespace
}  // namespace kvferry::sdk
