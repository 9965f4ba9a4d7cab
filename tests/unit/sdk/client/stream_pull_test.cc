// What a stream copies, and when it counts.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/sdk/client/stream_fixture.h"

namespace kvferry::sdk {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class StreamPullTest : public StreamFixture {
 protected:
  static constexpr uint64_t kLayerBytes = kPageBytes / kLayers;

  // Notes what is copied as "block/slice:layer+layers", and copies it.
  PrefixStream::CopyOut Copy() {
    return [this](uint32_t block, uint32_t slice, uint32_t layer,
                  uint32_t layers, std::span<const std::byte> bytes) {
      copies_.push_back(
          absl::StrCat(block, "/", slice, ":", layer, "+", layers));
      EXPECT_EQ(bytes.size(), layers * kLayerBytes);
      EXPECT_EQ(bytes.data(),
                stream_.page(block, slice).data() + layer * kLayerBytes);
      if (on_copy_) on_copy_();
    };
  }
  bool PullSome(const PrefixStream::PullOptions& options = {}) {
    copies_.clear();
    return stream_.PullSome(options, Copy());
  }

  StreamState stream_;
  std::vector<std::string> copies_;
  std::function<void()> on_copy_;
};

TEST_F(StreamPullTest, CopiesBlocksOnceAsTheyCome) {
  PutReady(100);
  OpenOne(0);
  PutPending(101, At(0));
  PutPending(102, At(1));
  ASSERT_THAT(Start(&stream_, Keys(100, 3)), IsOk());

  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("0/0:0+4"));
  EXPECT_EQ(stream_.copied_blocks(), 1);
  EXPECT_FALSE(PullSome());

  Pass(writer(), kGeneration, 2);
  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("1/0:0+4", "2/0:0+4"));
  EXPECT_EQ(stream_.copied_blocks(), 3);
  EXPECT_FALSE(PullSome());
}

TEST_F(StreamPullTest, CopiesLayersOnceThenTheRest) {
  OpenOne(2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  PassLayers(writer(), kGeneration, 0, 2, 1);
  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("0/0:0+1", "1/0:0+1"));
  EXPECT_EQ(stream_.copied_blocks(), 0);
  EXPECT_EQ(stream_.copied_layers(), 1);
  EXPECT_FALSE(PullSome());

  PassLayers(writer(), kGeneration, 0, 2, 3);
  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("0/0:1+2", "1/0:1+2"));
  EXPECT_EQ(stream_.copied_layers(), 3);

  Pass(writer(), kGeneration, 2);
  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("0/0:3+1", "1/0:3+1"));
  EXPECT_EQ(stream_.copied_blocks(), 2);
  EXPECT_EQ(stream_.copied_layers(), 0);
}

TEST_F(StreamPullTest, AllLayersBeforeTheCommitLeaveNothingToCopyAfterIt) {
  OpenOne(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  PassLayers(writer(), kGeneration, 0, 1, kLayers);
  ASSERT_TRUE(PullSome());
  EXPECT_EQ(stream_.copied_blocks(), 0) << "not confirmed before it is whole";

  Pass(writer(), kGeneration, 1);

  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, IsEmpty());
  EXPECT_EQ(stream_.copied_blocks(), 1);
}

TEST_F(StreamPullTest, ABlockThatJoinsTheChunkLateGetsItsLayers) {
  OpenOne(1);
  PassLayers(writer(), kGeneration, 0, 2, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  ASSERT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("0/0:0+2"));

  PutPending(1, At(1));
  PassLayers(writer(), kGeneration, 0, 2, 3);
  Settle(&stream_);
  EXPECT_TRUE(PullSome());

  EXPECT_THAT(copies_, ElementsAre("0/0:2+1", "1/0:0+3"));
}

TEST_F(StreamPullTest, TheNextChunkBeginsWithItsFirstLayer) {
  OpenOne(4);
  ASSERT_THAT(Start(&stream_, Keys(0, 4)), IsOk());
  PassLayers(writer(), kGeneration, 0, 2, 3);
  ASSERT_TRUE(PullSome());

  PassLayers(writer(), kGeneration, 2, 4, 1);
  EXPECT_TRUE(PullSome());

  EXPECT_THAT(copies_, ElementsAre("0/0:3+1", "1/0:3+1", "2/0:0+1", "3/0:0+1"));
  EXPECT_EQ(stream_.copied_blocks(), 2);
  EXPECT_EQ(stream_.copied_layers(), 1);
}

TEST_F(StreamPullTest, LayersCanBeLeftAlone) {
  OpenOne(1);
  PassLayers(writer(), kGeneration, 0, 1, 2);
  ASSERT_THAT(Start(&stream_, Keys(0, 1)), IsOk());
  EXPECT_FALSE(PullSome({.by_layer = false}));
  Pass(writer(), kGeneration, 1);
  EXPECT_TRUE(PullSome({.by_layer = false}));
  EXPECT_THAT(copies_, ElementsAre("0/0:0+4"));
}

TEST_F(StreamPullTest, OnlyTheSlicesAskedForAreCopied) {
  PutReady(0, /*group=*/1);
  StreamOptions options;
  options.group = 1;
  ASSERT_THAT(Start(&stream_, Keys(0, 1), options), IsOk());
  EXPECT_TRUE(PullSome({.slice_first = 1, .slice_count = 1}));
  EXPECT_THAT(copies_, ElementsAre("0/1:0+4"));

  ASSERT_THAT(Start(&stream_, Keys(0, 1), options), IsOk());
  EXPECT_TRUE(PullSome());
  EXPECT_THAT(copies_, ElementsAre("0/0:0+4", "0/1:0+4"));

  EXPECT_FALSE(PullSome({.slice_first = 2}));
  EXPECT_THAT(stream_.PullTo({.slice_first = 1, .slice_count = 2}, Copy(),
                             absl::InfinitePast()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("slices [1, +2), group 1 has 2")));
}

TEST_F(StreamPullTest, ABlockThatLeavesDuringItsCopyDoesNotCount) {
  OpenOne(3);
  Pass(writer(), kGeneration, 3);
  ASSERT_THAT(Start(&stream_, Keys(0, 3)), IsOk());
  ASSERT_EQ(stream_.ok_blocks(), 3);
  on_copy_ = [this] { Erase(1); };

  EXPECT_THAT(stream_.PullTo({}, Copy(), absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("block 1")));

  EXPECT_EQ(stream_.copied_blocks(), 1);
  EXPECT_EQ(stream_.ok_blocks(), 1);
}

TEST_F(StreamPullTest, AChunkThatFailsByLayersBeginsAnewWithTheNextMatch) {
  OpenOne(2);
  PassLayers(writer(), kGeneration, 0, 2, 3);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  ASSERT_TRUE(PullSome());
  GiveUp(writer(), kGeneration);
  EXPECT_THAT(stream_.PullTo({}, Copy(), absl::InfiniteFuture()),
              StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(stream_.copied_blocks(), 0);

  Erase(0);
  Erase(1);
  PutReady(0);
  PutReady(1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());
  copies_.clear();
  EXPECT_THAT(stream_.PullTo({}, Copy(), absl::InfiniteFuture()), IsOk());

  EXPECT_THAT(copies_, ElementsAre("0/0:0+4", "1/0:0+4"));
  EXPECT_EQ(stream_.copied_blocks(), 2);
}

TEST_F(StreamPullTest, ADeadlineKeepsWhatIsCopied) {
  OpenOne(2);
  Pass(writer(), kGeneration, 1);
  ASSERT_THAT(Start(&stream_, Keys(0, 2)), IsOk());

  EXPECT_THAT(
      stream_.PullTo({}, Copy(), absl::Now() + absl::Milliseconds(3)),
      StatusIs(absl::StatusCode::kDeadlineExceeded, HasSubstr("1 of 2")));
  EXPECT_EQ(stream_.copied_blocks(), 1);

  Pass(writer(), kGeneration, 2);
  EXPECT_THAT(stream_.PullTo({}, Copy(), absl::Now() + absl::Seconds(5)),
              IsOk());
  EXPECT_EQ(stream_.copied_blocks(), 2);
}

}  // namespace
}  // namespace kvferry::sdk
