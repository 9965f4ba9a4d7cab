// What is left when a process dies in the middle of copies: no wrong byte, no
// block that nobody gets back, and transfers that work as before.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

#include "tests/integration/gpu_engine_fixture.h"

namespace kvferry::test {
namespace {

constexpr uint32_t kPrompts = 12;

class GpuFaultTest : public GpuEngineTest {
 protected:
  // A survivor publishes and pulls as if nothing had happened.
  void EverythingWorks(GpuEngine* engine, uint64_t n) {
    ASSERT_THAT(engine->Publish(n, 16), IsOk()) << daemon_->log();
    auto pulled = engine->Pull(n, 16);
    ASSERT_THAT(pulled, IsOk());
    EXPECT_THAT(pulled->status, IsOk());
    EXPECT_EQ(pulled->hit, 16u);
    EXPECT_EQ(pulled->right, 16u);
  }
  // Whatever the dead left of their prompts is right or a miss.
  void NothingIsWrong(GpuEngine* engine) {
    for (uint64_t prompt = 0; prompt < kPrompts; ++prompt) {
      auto pulled = engine->Pull(prompt * 16, 16);
      ASSERT_THAT(pulled, IsOk());
      EXPECT_THAT(pulled->status, IsOk());
      EXPECT_EQ(pulled->right, pulled->hit) << "prompt " << prompt;
    }
  }
};

// Goal    A client that is killed while it copies, either way, leaves nothing
//         behind.
// Method  Two processes publish and pull the same prompts; one is killed after
//         a number of steps that differs from round to round, and replaced.
TEST_F(GpuFaultTest, KilledClientsLeaveNothingBehind) {
  StartDaemon("2MiB");
  auto engine = Engine(On(0, EngineOrder::kHnd));
  ASSERT_NE(engine, nullptr);
  auto lives = Peer(On(0, EngineOrder::kPacked));
  ASSERT_NE(lives, nullptr);
  ASSERT_THAT(lives->Churn(99, kPrompts), IsOk());
  for (uint32_t round = 0; round < 6; ++round) {
    auto dies = Peer(On(0, EngineOrder::kNhd));
    ASSERT_NE(dies, nullptr);
    ASSERT_THAT(dies->Churn(round, kPrompts), IsOk());
    ASSERT_THAT(dies->AwaitSteps(1 + round * 3), IsOk());
    dies->Kill();
    ASSERT_THAT(lives->AwaitSteps(4), IsOk()) << daemon_->log();
    NothingIsWrong(engine.get());
  }
  lives->Kill();
  EXPECT_TRUE(BecomesQuiet(0)) << daemon_->log();
  NothingIsWrong(engine.get());
  EverythingWorks(engine.get(), 10000);
}

// Goal    The GPU's worker is killed under load: readers and publishers get
//         errors, or bytes that are right, and go on with the next worker.
TEST_F(GpuFaultTest, KilledWorkersCostMissesOnly) {
  StartDaemon("2MiB");
  auto engine = Engine(On(0, EngineOrder::kHnd));
  ASSERT_NE(engine, nullptr);
  auto first = Peer(On(0, EngineOrder::kNhd));
  auto second = Peer(On(0, EngineOrder::kPacked));
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  ASSERT_THAT(first->Churn(1, kPrompts), IsOk());
  ASSERT_THAT(second->Churn(2, kPrompts), IsOk());
  for (uint32_t round = 0; round < 3; ++round) {
    ASSERT_THAT(first->AwaitSteps(3 + round), IsOk());
    const uint32_t pid = Status().worker_pid;
    ASSERT_NE(pid, 0u);
    ASSERT_EQ(::kill(static_cast<pid_t>(pid), SIGKILL), 0);
    ASSERT_THAT(first->AwaitSteps(6), IsOk());
    ASSERT_THAT(second->AwaitSteps(6), IsOk());
    ASSERT_TRUE(Becomes(
        [&] {
          const GpuStatus status = Status();
          return status.state == "serving" && status.worker_pid != pid;
        },
        absl::Seconds(20)))
        << daemon_->log();
    NothingIsWrong(engine.get());
  }
  first->Kill();
  second->Kill();
  EXPECT_TRUE(BecomesQuiet(0)) << daemon_->log();
  ASSERT_TRUE(Becomes([&] { return engine->gpu().has_pool(); }));
  EverythingWorks(engine.get(), 10000);
}

// Goal    A daemon that is killed and comes back: what was under way ends, and
//         its clients go on under the new one, in new memory.
TEST_F(GpuFaultTest, RestartedDaemonServesAgain) {
  StartDaemon("2MiB");
  auto engine = Engine(On(0, EngineOrder::kHnd));
  ASSERT_NE(engine, nullptr);
  auto peer = Peer(On(0, EngineOrder::kNhd));
  ASSERT_NE(peer, nullptr);
  ASSERT_THAT(peer->Churn(7, kPrompts), IsOk());
  ASSERT_THAT(peer->AwaitSteps(10), IsOk());
  EverythingWorks(engine.get(), 10000);
  const uint64_t epoch = engine->client().info().epoch;

  daemon_->Kill();
  ASSERT_THAT(peer->AwaitSteps(3), IsOk()) << "what it says then is no matter";
  ASSERT_THAT(daemon_->Restart(), IsOk());

  ASSERT_TRUE(Becomes(
      [&] {
        return engine->client().connected() &&
               engine->client().info().epoch != epoch &&
               engine->gpu().has_pool();
      },
      absl::Seconds(20)))
      << engine->gpu().pool_status();
  ASSERT_THAT(peer->AwaitSteps(10), IsOk());
  // Memory comes segment by segment.
  ASSERT_TRUE(Becomes([&] { return engine->Publish(20000, 4).ok(); }));
  EverythingWorks(engine.get(), 30000);
  peer->Kill();
  EXPECT_TRUE(BecomesQuiet(0)) << daemon_->log();
  NothingIsWrong(engine.get());
}

}  // namespace
}  // namespace kvferry::test
