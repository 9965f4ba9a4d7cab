#include "tools/kvferry-replay/job_channel.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <utility>

#include "tests/support/status_matchers.h"

namespace kvferry::replay {
namespace {

using test::IsOk;
using test::StatusIs;

class JobChannelTest : public testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends;
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()),
              0);
    coordinator_.emplace(UniqueFd(ends[0]));
    worker_.emplace(UniqueFd(ends[1]));
  }

  std::optional<JobChannel> coordinator_;
  std::optional<JobChannel> worker_;
};

TEST_F(JobChannelTest, CarriesJobsAndTheEndOfJobs) {
  ASSERT_THAT(coordinator_->SendJob({3, 4, 1025, {7, UINT64_MAX, 0}}), IsOk());
  ASSERT_THAT(coordinator_->SendJob({5, 6, 1, {}}), IsOk());
  coordinator_->CloseJobs();

  const auto first = worker_->ReceiveJob();
  ASSERT_THAT(first, IsOk());
  ASSERT_TRUE(first->has_value());
  EXPECT_EQ((*first)->request, 3u);
  EXPECT_EQ((*first)->line, 4u);
  EXPECT_EQ((*first)->input_tokens, 1025u);
  EXPECT_THAT((*first)->hash_ids, testing::ElementsAre(7, UINT64_MAX, 0));
  const auto second = worker_->ReceiveJob();
  ASSERT_THAT(second, IsOk());
  ASSERT_TRUE(second->has_value());
  EXPECT_TRUE((*second)->hash_ids.empty());
  const auto end = worker_->ReceiveJob();
  ASSERT_THAT(end, IsOk());
  EXPECT_FALSE(end->has_value());
}

TEST_F(JobChannelTest, CarriesResultsAndReasons) {
  JobResult result;
  result.request = 9;
  result.match_ns = 1234;
  ASSERT_THAT(worker_->SendMessage({WorkerEvent::kDone, result}), IsOk());
  ASSERT_THAT(worker_->SendMessage({WorkerEvent::kFailed,
                                    {},
                                    absl::ResourceExhaustedError("no memory")}),
              IsOk());

  const auto done = coordinator_->ReceiveMessage();
  ASSERT_THAT(done, IsOk());
  ASSERT_TRUE(done->has_value());
  EXPECT_EQ((*done)->event, WorkerEvent::kDone);
  EXPECT_EQ((*done)->result.request, 9u);
  EXPECT_EQ((*done)->result.match_ns, 1234u);
  const auto failed = coordinator_->ReceiveMessage();
  ASSERT_THAT(failed, IsOk());
  ASSERT_TRUE(failed->has_value());
  EXPECT_EQ((*failed)->event, WorkerEvent::kFailed);
  EXPECT_EQ((*failed)->status, absl::ResourceExhaustedError("no memory"));
}

// Goal    A worker that dies while it writes is an error, not an end.
TEST_F(JobChannelTest, RefusesAMessageThatIsCutOff) {
  ASSERT_EQ(::write(worker_->fd(), "abc", 3), 3);
  worker_.reset();

  EXPECT_THAT(coordinator_->ReceiveMessage(),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(JobChannelTest, SendingToOneThatIsGoneFails) {
  worker_.reset();

  EXPECT_THAT(coordinator_->SendJob({0, 1, 512, {1}}),
              StatusIs(absl::StatusCode::kUnavailable));
}

}  // namespace
}  // namespace kvferry::replay
