#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/mapping.h"
#include "daemon/worker/daemon_ring_end.h"
#include "daemon/worker/worker_ring_end.h"
#include "tests/support/status_matchers.h"

namespace kvferry::worker {
namespace {

using protocol::kWorkerRingRecords;
using protocol::WorkerCommand;
using protocol::WorkerCompletion;
using protocol::WorkerRingHeader;
using test::IsOk;
using test::StatusIs;
using ::testing::HasSubstr;

// Both ends of one pair of rings, and a third mapping that may spoil them.
class RingTest : public testing::Test {
 protected:
  void SetUp() override {
    auto daemon = DaemonRingEnd::Make();
    ASSERT_THAT(daemon, IsOk());
    daemon_ = std::make_unique<DaemonRingEnd>(*std::move(daemon));
    std::vector<UniqueFd> fds;
    for (const int fd : {daemon_->file_fd(), daemon_->worker_doorbell_fd(),
                         daemon_->daemon_doorbell_fd()}) {
      fds.emplace_back(::dup(fd));
    }
    auto spoiler =
        Mapping::Map(daemon_->file_fd(), protocol::kWorkerRingFileBytes,
                     Mapping::Access::kReadWrite);
    ASSERT_THAT(spoiler, IsOk());
    spoiler_ = *std::move(spoiler);
    auto worker = WorkerRingEnd::Make(fds);
    ASSERT_THAT(worker, IsOk());
    worker_ = std::make_unique<WorkerRingEnd>(*std::move(worker));
  }

  WorkerRingHeader& header() { return *spoiler_.At<WorkerRingHeader>(0); }
  void Give(uint64_t id) {
    WorkerCommand command{};
    command.type = protocol::WorkerCommandType::kCopyToHost;
    command.id = id;
    daemon_->Push(command);
    daemon_->Publish();
  }
  void Answer(uint64_t id) {
    WorkerCompletion completion{};
    completion.id = id;
    completion.ok = 1;
    worker_->Post(completion);
    worker_->Publish();
  }
  // The next command's id; 0: none.
  uint64_t TakeCommand() {
    WorkerCommand command{};
    const auto taken = worker_->Take(&command);
    EXPECT_THAT(taken, IsOk());
    return taken.ok() && *taken ? command.id : 0;
  }
  uint64_t TakeCompletion() {
    WorkerCompletion completion{};
    const auto taken = daemon_->Take(&completion);
    EXPECT_THAT(taken, IsOk());
    return taken.ok() && *taken ? completion.id : 0;
  }
  static bool Rang(int doorbell) {
    pollfd rang{doorbell, POLLIN, 0};
    return ::poll(&rang, 1, 0) == 1;
  }

  std::unique_ptr<DaemonRingEnd> daemon_;
  std::unique_ptr<WorkerRingEnd> worker_;
  Mapping spoiler_;
};

TEST_F(RingTest, CommandsGoOutAndCompletionsComeBack) {
  EXPECT_EQ(TakeCommand(), 0u);
  EXPECT_FALSE(daemon_->Ready());

  Give(7);
  Give(8);

  EXPECT_EQ(TakeCommand(), 7u);
  EXPECT_EQ(TakeCommand(), 8u);
  EXPECT_EQ(TakeCommand(), 0u);
  Answer(8);
  Answer(7);
  EXPECT_TRUE(daemon_->Ready());
  EXPECT_EQ(TakeCompletion(), 8u);
  EXPECT_EQ(TakeCompletion(), 7u);
  EXPECT_EQ(TakeCompletion(), 0u);
  EXPECT_FALSE(daemon_->Ready());
}

TEST_F(RingTest, RoomCountsWhatIsUnderWay) {
  EXPECT_EQ(daemon_->Room(), kWorkerRingRecords);
  for (uint64_t id = 1; id <= kWorkerRingRecords; ++id) Give(id);
  EXPECT_EQ(daemon_->Room(), 0u);

  // Taken, but not done: the completions need their room.
  for (uint64_t id = 1; id <= kWorkerRingRecords; ++id) {
    ASSERT_EQ(TakeCommand(), id);
  }
  EXPECT_EQ(daemon_->Room(), 0u);
  Answer(1);
  EXPECT_EQ(TakeCompletion(), 1u);

  EXPECT_EQ(daemon_->Room(), 1u);
}

// Goal    Nothing is lost or doubled when the rings go round.
// Method  Five rounds of commands, with as many under way as there may be.
TEST_F(RingTest, TheRingsGoRound) {
  uint64_t given = 0;
  uint64_t answered = 0;
  while (answered < 5 * kWorkerRingRecords) {
    while (daemon_->Room() > 0) Give(++given);
    for (uint64_t id = TakeCommand(); id != 0; id = TakeCommand()) Answer(id);
    for (uint64_t id = TakeCompletion(); id != 0; id = TakeCompletion()) {
      ASSERT_EQ(id, ++answered);
    }
  }
  EXPECT_EQ(given, answered);
}

TEST_F(RingTest, OnlyASleeperIsRungFor) {
  Give(1);
  EXPECT_FALSE(Rang(daemon_->worker_doorbell_fd()));
  EXPECT_EQ(TakeCommand(), 1u);

  ASSERT_TRUE(worker_->PrepareToSleep());
  Give(2);

  EXPECT_TRUE(Rang(daemon_->worker_doorbell_fd()));
  worker_->WakeUp();
  EXPECT_FALSE(Rang(daemon_->worker_doorbell_fd()));
  Answer(1);
  EXPECT_FALSE(Rang(daemon_->daemon_doorbell_fd()));
  daemon_->SetAsleep(true);
  Answer(2);
  EXPECT_TRUE(Rang(daemon_->daemon_doorbell_fd()));
}

TEST_F(RingTest, NobodyGoesToSleepOverACommand) {
  Give(1);

  EXPECT_FALSE(worker_->PrepareToSleep());

  worker_->WakeUp();
  EXPECT_EQ(TakeCommand(), 1u);
}

// Goal    INV-WORKER-1: whoever sleeps is woken.
// Method  Two threads, each of which sleeps in poll whenever it finds nothing;
//         a wake that is lost would leave both asleep for ever.
TEST_F(RingTest, NoWakeIsLost) {
  constexpr uint64_t kCommands = 20'000;
  std::thread worker([&] {
    uint64_t done = 0;
    while (done < kCommands) {
      if (const uint64_t id = TakeCommand(); id != 0) {
        Answer(id);
        ++done;
        continue;
      }
      if (worker_->PrepareToSleep()) {
        pollfd rang{daemon_->worker_doorbell_fd(), POLLIN, 0};
        ::poll(&rang, 1, -1);
      }
      worker_->WakeUp();
    }
  });

  for (uint64_t id = 1; id <= kCommands; ++id) {
    Give(id);
    while (TakeCompletion() == 0) {
      daemon_->SetAsleep(true);
      std::atomic_thread_fence(std::memory_order_seq_cst);
      if (!daemon_->Ready()) {
        pollfd rang{daemon_->daemon_doorbell_fd(), POLLIN, 0};
        ::poll(&rang, 1, -1);
        uint64_t rings = 0;
        (void)!::read(daemon_->daemon_doorbell_fd(), &rings, sizeof(rings));
      }
      daemon_->SetAsleep(false);
    }
  }

  worker.join();
}

// Goal    A worker that runs wild is found out, whatever it stores.
// Method  Tails that are ahead, behind, and at the ends of their type.
TEST_F(RingTest, AWildCompletionTailIsRefused) {
  Give(1);
  Give(2);
  ASSERT_EQ(TakeCommand(), 1u);
  Answer(1);
  ASSERT_EQ(TakeCompletion(), 1u);

  for (const uint64_t tail :
       {uint64_t{0}, uint64_t{3}, uint64_t{kWorkerRingRecords},
        uint64_t{kWorkerRingRecords + 2}, uint64_t{1} << 40, UINT64_MAX}) {
    header().completion_tail.store(tail);
    WorkerCompletion completion{};
    EXPECT_THAT(daemon_->Take(&completion),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("completion ring")))
        << tail;
    EXPECT_TRUE(daemon_->Ready());
  }
}

TEST_F(RingTest, WhatElseAWorkerStoresIsNotLookedAt) {
  header().command_consumed.store(UINT64_MAX);
  header().command_tail.store(12345);
  header().completion_consumed.store(777);
  header().magic = 0;
  header().version.store(99);

  // The daemon has its own copies of what is its own.
  Give(1);
  EXPECT_EQ(header().command_tail.load(), 1u);
  EXPECT_EQ(daemon_->Room(), kWorkerRingRecords - 1);
}

TEST_F(RingTest, AWildCommandTailIsRefused) {
  header().command_tail.store(kWorkerRingRecords + 1);

  WorkerCommand command{};
  EXPECT_THAT(
      worker_->Take(&command),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("command ring")));
}

TEST_F(RingTest, OtherRingsAreRefused) {
  const auto make = [&](int count) {
    std::vector<UniqueFd> fds;
    for (int i = 0; i < count; ++i) {
      fds.emplace_back(::dup(daemon_->file_fd()));
    }
    return WorkerRingEnd::Make(fds).status();
  };
  EXPECT_THAT(make(2), StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("2 descriptors")));
  header().version.store(protocol::kWorkerProtocolVersion + 1);
  EXPECT_THAT(make(3), StatusIs(absl::StatusCode::kInvalidArgument,
                                HasSubstr("version 2")));
}

}  // namespace
}  // namespace kvferry::worker
