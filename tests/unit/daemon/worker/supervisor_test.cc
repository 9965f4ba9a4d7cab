#include "daemon/worker/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvferry::worker {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;
using Action = Supervisor::Action;
using State = Supervisor::State;

// With short deadlines, and a clock that the test turns.
class SupervisorTest : public testing::Test {
 protected:
  static Supervisor::Options Options() {
    Supervisor::Options options;
    options.hello_deadline_ms = 50;
    options.answer_deadline_ms = 20;
    options.backoff_min_ms = 100;
    options.backoff_max_ms = 400;
    options.stable_ms = 1000;
    options.log_again_ms = 5000;
    return options;
  }

  Action Due() { return supervisor_.Due(now_ms_, unanswered_since_ms_); }
  void Start() {
    ASSERT_EQ(Due(), Action::kSpawn);
    supervisor_.Spawned(now_ms_);
  }
  void Serve() {
    Start();
    supervisor_.SaidHello(now_ms_);
    ASSERT_EQ(supervisor_.state(), State::kServing);
  }
  // How long until it is due to be started; the clock stands there then.
  uint64_t PassBackoff() {
    EXPECT_EQ(supervisor_.state(), State::kBackoff);
    const uint64_t wait_ms = supervisor_.retry_at_ms() - now_ms_;
    now_ms_ += wait_ms - 1;
    EXPECT_EQ(Due(), Action::kNone);
    ++now_ms_;
    return wait_ms;
  }

  uint64_t now_ms_ = 10'000;
  std::optional<uint64_t> unanswered_since_ms_;
  Supervisor supervisor_{Options()};
};

TEST_F(SupervisorTest, TheFirstIsDueAtOnce) {
  EXPECT_EQ(supervisor_.state(), State::kBackoff);
  EXPECT_EQ(supervisor_.restarts(), 0u);

  Serve();

  EXPECT_EQ(Due(), Action::kNone);
  EXPECT_EQ(supervisor_.NextDueMs(std::nullopt), UINT64_MAX);
  EXPECT_THAT(supervisor_.reason(), IsEmpty());
  EXPECT_EQ(supervisor_.restarts(), 0u);
}

TEST_F(SupervisorTest, WhatCannotBeStartedIsTriedAgain) {
  ASSERT_EQ(Due(), Action::kSpawn);

  supervisor_.SpawnFailed("no such file", now_ms_);

  EXPECT_EQ(supervisor_.reason(), "no such file");
  EXPECT_EQ(PassBackoff(), 100u);
  EXPECT_EQ(Due(), Action::kSpawn);
}

TEST_F(SupervisorTest, WithoutAHelloItIsKilled) {
  Start();
  now_ms_ += 49;
  EXPECT_EQ(Due(), Action::kNone);
  ++now_ms_;

  EXPECT_EQ(Due(), Action::kKill);

  EXPECT_EQ(supervisor_.state(), State::kEnding);
  supervisor_.Exited("signal 9", now_ms_);
  // Why it was killed, not how.
  EXPECT_THAT(supervisor_.reason(), HasSubstr("50 ms"));
  EXPECT_EQ(PassBackoff(), 100u);
}

TEST_F(SupervisorTest, AnExitBeforeTheHelloCounts) {
  Start();

  supervisor_.Exited("exit code 3", now_ms_);

  EXPECT_EQ(supervisor_.reason(), "exit code 3");
  EXPECT_EQ(PassBackoff(), 100u);
}

TEST_F(SupervisorTest, AnExitWhileServingCounts) {
  Serve();

  supervisor_.Exited("signal 11", now_ms_);

  EXPECT_EQ(supervisor_.reason(), "signal 11");
  EXPECT_EQ(PassBackoff(), 100u);
  Serve();
  EXPECT_EQ(supervisor_.restarts(), 1u);
  EXPECT_THAT(supervisor_.reason(), IsEmpty());
}

TEST_F(SupervisorTest, ARequestThatIsNotAnsweredEndsIt) {
  Serve();
  unanswered_since_ms_ = now_ms_;
  now_ms_ += 19;
  EXPECT_EQ(Due(), Action::kNone);
  ++now_ms_;

  EXPECT_EQ(Due(), Action::kKill);

  supervisor_.Exited("signal 9", now_ms_);
  EXPECT_THAT(supervisor_.reason(), HasSubstr("unanswered for 20 ms"));
}

TEST_F(SupervisorTest, AnAnswerInTimeKeepsIt) {
  Serve();
  for (int i = 0; i < 10; ++i) {
    unanswered_since_ms_ = now_ms_;
    now_ms_ += 19;
    EXPECT_EQ(Due(), Action::kNone);
  }
  EXPECT_EQ(supervisor_.state(), State::kServing);
}

// A process that hangs in its driver may need more than one.
TEST_F(SupervisorTest, AKillThatDoesNotHelpIsRepeated) {
  Serve();
  supervisor_.GiveUp("nonsense", now_ms_);
  EXPECT_EQ(Due(), Action::kNone);

  for (int i = 0; i < 3; ++i) {
    now_ms_ += 20;
    EXPECT_EQ(Due(), Action::kKill);
    EXPECT_EQ(Due(), Action::kNone);
  }

  EXPECT_EQ(supervisor_.state(), State::kEnding);
  supervisor_.Exited("signal 9", now_ms_);
  EXPECT_EQ(supervisor_.reason(), "nonsense");
}

TEST_F(SupervisorTest, UnusableForNowIsTriedAgain) {
  Start();

  supervisor_.SaidUnusable("no driver", /*permanent=*/false, now_ms_);
  EXPECT_EQ(supervisor_.state(), State::kEnding);
  supervisor_.Exited("exit code 1", now_ms_);

  EXPECT_EQ(supervisor_.reason(), "no driver");
  EXPECT_EQ(PassBackoff(), 100u);
}

TEST_F(SupervisorTest, UnusableForGoodIsNot) {
  Start();

  supervisor_.SaidUnusable("built without CUDA", /*permanent=*/true, now_ms_);
  supervisor_.Exited("exit code 1", now_ms_);

  EXPECT_EQ(supervisor_.state(), State::kUnusable);
  now_ms_ += 1'000'000;
  EXPECT_EQ(Due(), Action::kNone);
  EXPECT_EQ(supervisor_.NextDueMs(std::nullopt), UINT64_MAX);
  EXPECT_EQ(supervisor_.reason(), "built without CUDA");
}

TEST_F(SupervisorTest, AClosedSocketIsThereasonUntilTheExitIsKnown) {
  Serve();

  supervisor_.Closed(now_ms_);
  EXPECT_THAT(supervisor_.reason(), HasSubstr("closed its socket"));
  supervisor_.Exited("signal 9", now_ms_);

  EXPECT_EQ(supervisor_.reason(), "signal 9");
}

TEST_F(SupervisorTest, OneThatClosesItsSocketAndStaysIsKilled) {
  Serve();
  supervisor_.Closed(now_ms_);
  now_ms_ += 20;

  EXPECT_EQ(Due(), Action::kKill);
}

TEST_F(SupervisorTest, TheBackoffDoublesUpToItsLimit) {
  for (const uint64_t expected : {100u, 200u, 400u, 400u, 400u}) {
    Serve();
    supervisor_.Exited("signal 9", now_ms_);
    EXPECT_EQ(PassBackoff(), expected);
  }
}

TEST_F(SupervisorTest, WhoServedLongBeginsAnew) {
  for (int i = 0; i < 3; ++i) {
    Serve();
    supervisor_.Exited("signal 9", now_ms_);
    PassBackoff();
  }
  Serve();
  now_ms_ += 999;
  supervisor_.Exited("signal 9", now_ms_);
  EXPECT_EQ(PassBackoff(), 400u);
  Serve();
  now_ms_ += 1000;

  supervisor_.Exited("signal 9", now_ms_);

  EXPECT_EQ(PassBackoff(), 100u);
}

TEST_F(SupervisorTest, AHelloOutOfTurnChangesNothing) {
  supervisor_.SaidHello(now_ms_);
  EXPECT_EQ(supervisor_.state(), State::kBackoff);
  Serve();
  supervisor_.GiveUp("nonsense", now_ms_);

  supervisor_.SaidHello(now_ms_);

  EXPECT_EQ(supervisor_.state(), State::kEnding);
}

TEST_F(SupervisorTest, AReasonIsNewsOnceAndAgainAfterLong) {
  const auto fail = [&](const char* reason) {
    Start();
    supervisor_.Exited(reason, now_ms_);
    const std::optional<std::string> news = supervisor_.TakeNews(now_ms_);
    EXPECT_EQ(supervisor_.TakeNews(now_ms_), std::nullopt);
    PassBackoff();
    return news;
  };

  EXPECT_THAT(fail("exit code 1"), Optional(std::string("exit code 1")));
  EXPECT_EQ(fail("exit code 1"), std::nullopt);
  EXPECT_EQ(fail("exit code 1"), std::nullopt);
  EXPECT_THAT(fail("exit code 2"), Optional(HasSubstr("exit code 2 (2 fail")));
  now_ms_ += 5000;
  EXPECT_THAT(fail("exit code 2"), Optional(std::string("exit code 2")));
}

}  // namespace
}  // namespace kvferry::worker
