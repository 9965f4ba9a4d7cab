#include "daemon/memory/segment_maker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <utility>
#include <vector>

#include "daemon/memory/populate.h"
#include "tests/support/status_matchers.h"

namespace kvferry::memory {
namespace {

using config::Toggle;
using test::IsOk;
using test::StatusIs;

constexpr SegmentOptions kPlain{Toggle::kOff, Toggle::kOff, config::kNumaAuto};
constexpr int kDeadlineMs = 20'000;

SegmentJob Job(uint32_t segment, uint64_t bytes = 1 << 20) {
  SegmentJob job;
  job.namespace_id = 7;
  job.plan.segment = segment;
  job.plan.bytes = bytes;
  return job;
}

bool ResultsReadable(const SegmentMakerProxy& proxy, int timeout_ms) {
  pollfd poll_fd{proxy.results_fd(), POLLIN, 0};
  return ::poll(&poll_fd, 1, timeout_ms) == 1;
}

class SegmentMakerTest : public testing::Test {
 protected:
  std::unique_ptr<SegmentMakerProxy> proxy_ = *SegmentMakerProxy::Make();
  SegmentMaker maker_{proxy_.get(), kPlain};
};

TEST_F(SegmentMakerTest, MakesOneSegmentATurn) {
  ASSERT_TRUE(proxy_->TrySubmit(Job(0)));
  ASSERT_TRUE(proxy_->TrySubmit(Job(1)));

  EXPECT_EQ(maker_.DoWork(), 1u);

  std::vector<SegmentResult> results = proxy_->TakeResults();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].job.namespace_id, 7u);
  EXPECT_EQ(results[0].job.plan.segment, 0u);
  EXPECT_THAT(results[0].segment, IsOk());
  EXPECT_EQ(maker_.DoWork(), 1u);
  EXPECT_EQ(maker_.DoWork(), 0u);
}

TEST_F(SegmentMakerTest, TellsOfResultsUntilTheyAreTaken) {
  EXPECT_FALSE(ResultsReadable(*proxy_, 0));
  ASSERT_TRUE(proxy_->TrySubmit(Job(0)));
  maker_.DoWork();
  EXPECT_TRUE(ResultsReadable(*proxy_, 0));

  proxy_->TakeResults();

  EXPECT_FALSE(ResultsReadable(*proxy_, 0));
}

TEST_F(SegmentMakerTest, AFullQueueIsRefusedAndCounted) {
  for (uint32_t i = 0; i < SegmentMakerProxy::kQueueMax; ++i) {
    ASSERT_TRUE(proxy_->TrySubmit(Job(i)));
  }

  EXPECT_FALSE(proxy_->TrySubmit(Job(99)));

  EXPECT_EQ(proxy_->full_count(), 1u);
  maker_.DoWork();
  EXPECT_TRUE(proxy_->TrySubmit(Job(99)));
}

TEST_F(SegmentMakerTest, AFailureIsAResult) {
  ASSERT_TRUE(proxy_->TrySubmit(Job(0, uint64_t{1} << 62)));

  maker_.DoWork();

  std::vector<SegmentResult> results = proxy_->TakeResults();
  ASSERT_EQ(results.size(), 1u);
  EXPECT_FALSE(results[0].segment.ok());
}

TEST_F(SegmentMakerTest, ItsThreadWorksInTheBackgroundAndEnds) {
  maker_.Start();

  std::vector<uint32_t> made;
  for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(proxy_->TrySubmit(Job(i)));
  while (made.size() < 8) {
    ASSERT_TRUE(ResultsReadable(*proxy_, kDeadlineMs));
    for (const SegmentResult& result : proxy_->TakeResults()) {
      ASSERT_THAT(result.segment, IsOk());
      made.push_back(result.job.plan.segment);
    }
  }

  EXPECT_THAT(made, testing::ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  maker_.Stop();
}

TEST(PopulateTest, SeveralThreadsFillEveryPage) {
  constexpr uint64_t kBytes = (uint64_t{17} << 20) + 4096;
  const auto segment = Segment::Make(Job(0, kBytes).plan, kPlain);
  ASSERT_THAT(segment, IsOk());
  auto mapping = Mapping::Map((*segment)->writer_fd(), kBytes,
                              Mapping::Access::kReadWrite);
  ASSERT_THAT(mapping, IsOk());

  EXPECT_THAT(PopulateInParallel(mapping->data(), kBytes, 3, nullptr), IsOk());

  const std::atomic<bool> stop{true};
  EXPECT_THAT(PopulateInParallel(mapping->data(), kBytes, 3, &stop),
              StatusIs(absl::StatusCode::kCancelled));
}

}  // namespace
}  // namespace kvferry::memory
