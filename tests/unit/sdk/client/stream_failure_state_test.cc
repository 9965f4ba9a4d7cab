#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/time/clock.h"
#include "sdk/stream_state.h"
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

class StreamFailureStateTest : public StreamFixture {
 protected:
  StreamState stream_;
};

TEST_F(StreamFailureStateTest, AWriterThatGivesUpEndsTheStreamAtItsBlock) {
  OpenOne(4);
  Pass(writer(), kGeneration, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());

  GiveUp(writer(), kGeneration);
  EXPECT_TRUE(stream_.Poll());

  EXPECT_TRUE(stream_.done());
  EXPECT_EQ(stream_.ok_blocks(), 2);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted,
                       HasSubstr("block 2 of 4 was given up by its writer")));
  // Whatever comes later, nothing changes.
  Pass(writer(), kGeneration, 4);
  MakeReady(2);
  Settle(&stream_);
  EXPECT_EQ(stream_.ok_blocks(), 2);
  EXPECT_EQ(stream_.Confirm(4), 2);
}

TEST_F(StreamFailureStateTest, GivingUpAnotherPublicationChangesNothing) {
  OpenOne(2);
  GiveUp(writer(), kGeneration - 1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  EXPECT_THAT(stream_.status(), IsOk());
}

TEST_F(StreamFailureStateTest, ABlockThatBecameReadyBeforeItsWriterGaveUpIsOk) {
  OpenOne(2);
  MakeReady(0);
  GiveUp(writer(), kGeneration);

  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("block 1")));
}

TEST_F(StreamFailureStateTest, AnotherWritersBlockUnderTheSameKeyIsNotTheSame) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  // A standby takes the aborted one's place, and completes.
  Erase(0);
  PutReady(0);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_blocks(), 0);
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kAborted,
                                         HasSubstr("left the index")));
}

TEST_F(StreamFailureStateTest, TheSameBlockInItsNextGenerationIsNotTheSame) {
  OpenOne(0);
  const uint32_t block = PutPending(0, At(0));
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());

  Erase(0);
  PutInBlock(0, At(0), block);
  Pass(writer(), kGeneration, 1);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_blocks(), 0);
  EXPECT_THAT(stream_.status(), StatusIs(absl::StatusCode::kAborted));
}

TEST_F(StreamFailureStateTest, APublicationThatEndsFailsWhatItLeft) {
  OpenOne(3);
  Pass(writer(), kGeneration, 1);
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());

  Erase(1);
  Erase(2);
  End(kSlot);
  Settle(&stream_);

  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_THAT(
      stream_.status(),
      StatusIs(absl::StatusCode::kAborted,
               HasSubstr("block 1 of 3 did not complete before its publ")));
}

TEST_F(StreamFailureStateTest, AClearedNamespaceIsNamed) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  Erase(0);
  Erase(1);
  header()->content_epoch.fetch_add(1);
  Settle(&stream_);

  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("was cleared")));
}

TEST_F(StreamFailureStateTest, WhatWasReadyUnderItsPinSurvivesAClear) {
  PutReady(0);
  PutReady(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  Erase(0);
  Erase(1);

  EXPECT_EQ(stream_.Confirm(2), 2);
}

TEST_F(StreamFailureStateTest, ConfirmFindsAnAbortBehindAnOkBlock) {
  OpenOne(3);
  Pass(writer(), kGeneration, 3);
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());
  ASSERT_EQ(stream_.ok_blocks(), 3);

  MakeReady(0);
  Erase(1);

  EXPECT_EQ(stream_.Confirm(1), 1);
  EXPECT_EQ(stream_.Confirm(3), 1);
  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("block 1")));
}

TEST_F(StreamFailureStateTest, ALookFindsAnAbortBehindAnOkBlock) {
  OpenOne(3);
  Pass(writer(), kGeneration, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());
  ASSERT_EQ(stream_.ok_blocks(), 2);

  Erase(1);
  EXPECT_TRUE(stream_.Poll());

  EXPECT_EQ(stream_.ok_blocks(), 1);
  EXPECT_TRUE(stream_.done());
}

TEST_F(StreamFailureStateTest, ARevokedSessionHasNothing) {
  PutReady(0);
  OpenOne(0);
  PutPending(1, At(0));
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  fake_.SetRevoked();

  EXPECT_EQ(stream_.Confirm(1), 0);
  EXPECT_EQ(stream_.ok_blocks(), 0);
  EXPECT_THAT(stream_.status(),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("revoked")));
}

}  // namespace
}  // namespace kvferry::sdk
