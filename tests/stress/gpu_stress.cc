// Engines on one GPU whose pool is much too small for what they publish: blocks
// are written behind, dropped, promoted, spilled and evicted while they are
// pulled, followed and published, and the GPU's worker is killed now and then.
// Every block that a transfer says it brought is checked, byte for byte.

#include <fmt/core.h>
#include <signal.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "kvferry/admin.h"
#include "tests/integration/gpu_engine.h"
#include "tests/support/becomes.h"
#include "tests/support/daemon_process.h"
#include "tests/support/small_daemon.h"
#include "tests/support/test_device.h"

namespace kvferry::test {
namespace {

constexpr uint32_t kPromptKeys = 16;
// Of 8 KiB blocks in the first group: 30 MiB, of a pool of 2 MiB and host
// memory of 16 MiB that two groups share.
constexpr uint64_t kPrompts = 240;

// Each has the daemon wait longer before it starts the next worker.
constexpr uint32_t kKillsMax = 5;

struct Totals {
  std::atomic<uint64_t> published{0};
  std::atomic<uint64_t> right{0};
  std::atomic<uint64_t> from_gpu{0};
  std::atomic<uint64_t> followed{0};
  std::atomic<uint64_t> failed{0};  // transfers, while a worker was killed
  std::atomic<uint64_t> wrong{0};
};

void Check(const absl::StatusOr<GpuEngine::Pulled>& pulled, bool followed,
           Totals* totals) {
  if (!pulled.ok() || (!followed && !pulled->status.ok())) {
    ++totals->failed;
    return;
  }
  totals->right += pulled->right;
  totals->from_gpu += pulled->in_gpu;
  if (followed) totals->followed += pulled->right;
  if (pulled->right != pulled->hit) {
    totals->wrong += pulled->hit - pulled->right;
  }
}

void RunEngine(GpuEngine* engine, uint64_t seed, uint32_t steps,
               Totals* totals) {
  std::mt19937_64 random(seed);
  for (uint32_t step = 0; step < steps && totals->wrong == 0; ++step) {
    // A few prompts are much asked for.
    const uint64_t prompt =
        random() % 4 == 0 ? random() % kPrompts : random() % 8;
    const uint64_t n = prompt * kPromptKeys;
    const auto layers = static_cast<uint32_t>(random() % 3);
    switch (random() % 4) {
      case 0: {
        GpuEngine::PublishHow how;
        how.residence =
            random() % 4 == 0 ? BlockResidence::kHost : BlockResidence::kGpu;
        how.layers_a_part = layers;
        if (engine->Publish(n, kPromptKeys, how).ok()) ++totals->published;
        break;
      }
      case 1:
        Check(engine->Follow(n, kPromptKeys, layers), true, totals);
        break;
      default:
        Check(engine->Pull(n, kPromptKeys, 0, layers), false, totals);
        break;
    }
  }
}

absl::StatusOr<GpuStatus> Status(const std::string& socket) {
  auto admin = AdminClient::Connect(socket, absl::Seconds(10));
  if (!admin.ok()) return admin.status();
  auto gpus = (*admin)->Gpus();
  if (!gpus.ok()) return gpus.status();
  if (gpus->size() != 1) return absl::InternalError("not one GPU");
  return gpus->front();
}

// Nothing is written, copied, or rests any more.
bool IsQuiet(const GpuStatus& status) {
  return std::all_of(
      status.pools.begin(), status.pools.end(), [](const GpuPoolStatus& pool) {
        return pool.publishing == 0 && pool.in_io == 0 && pool.resting == 0 &&
               pool.quarantined == 0 && pool.not_clean == 0 &&
               pool.free + pool.granted + pool.ready == pool.blocks;
      });
}

int Run(uint32_t rounds, uint64_t seed, uint32_t engine_count,
        bool keep_worker) {
  DaemonProcess::Options options = SmallDaemon(GpuDaemonFlags("2MiB"));
  options.extra_args.insert(options.extra_args.end(),
                            {"--gpu-promotion-rate", "1GiB"});
  auto daemon = DaemonProcess::Start(options);
  if (!daemon.ok()) {
    fmt::print(stderr, "{}\n", std::string(daemon.status().message()));
    return 1;
  }
  std::vector<std::unique_ptr<GpuEngine>> engines;
  for (uint32_t i = 0; i < engine_count; ++i) {
    GpuEngine::Options engine;
    engine.socket_path = (*daemon)->socket_path();
    engine.order = static_cast<EngineOrder>(i % 3);
    // One stages what lies in host memory.
    engine.register_host_memory = i % 4 != 3;
    auto started = GpuEngine::Start(engine);
    if (!started.ok()) {
      fmt::print(stderr, "engine: {}\n{}\n",
                 std::string(started.status().message()), (*daemon)->log());
      return 1;
    }
    engines.push_back(*std::move(started));
  }

  std::mt19937_64 random(seed);
  Totals totals;
  uint32_t killed = 0;
  for (uint32_t round = 0; round < rounds && totals.wrong == 0; ++round) {
    // What the worker's death did was seen in the round before: here it serves.
    for (const auto& engine : engines) {
      if (!Becomes([&] { return engine->gpu().has_pool(); },
                   absl::Seconds(30))) {
        fmt::print(stderr, "no pool: {}\n{}\n",
                   std::string(engine->gpu().pool_status().message()),
                   (*daemon)->log());
        return 1;
      }
    }
    const uint64_t from_gpu = totals.from_gpu;
    std::vector<std::thread> threads;
    for (const auto& engine : engines) {
      threads.emplace_back(RunEngine, engine.get(), random(), 40, &totals);
    }
    // In the middle of every other round, from the second on.
    if (!keep_worker && round % 2 == 1 && killed < kKillsMax) {
      (void)Becomes([&] { return totals.from_gpu > from_gpu + random() % 64; },
                    absl::Seconds(1));
      const auto status = Status((*daemon)->socket_path());
      if (status.ok() && status->worker_pid != 0) {
        ::kill(static_cast<pid_t>(status->worker_pid), SIGKILL);
        ++killed;
      }
    }
    for (std::thread& thread : threads) thread.join();
  }
  GpuStatus last;
  const bool quiet = Becomes(
      [&] {
        auto status = Status((*daemon)->socket_path());
        if (!status.ok()) return false;
        last = *std::move(status);
        return last.state == "serving" && IsQuiet(last);
      },
      absl::Seconds(30));
  uint64_t dropped = 0;
  uint64_t promoted = 0;
  uint64_t lost = 0;
  for (const GpuPoolStatus& pool : last.pools) {
    dropped += pool.dropped;
    promoted += pool.promoted;
    lost += pool.lost;
  }
  fmt::print(
      "seed {}: {} prompts published, {} blocks right ({} from the GPU, {} "
      "followed), {} wrong; {} transfers failed, {} workers killed; {} "
      "dropped, {} promoted, {} lost\n",
      seed, totals.published.load(), totals.right.load(),
      totals.from_gpu.load(), totals.followed.load(), totals.wrong.load(),
      totals.failed.load(), killed, dropped, promoted, lost);
  if (!quiet) fmt::print(stderr, "blocks are left over\n");
  if (killed == 0 && totals.failed != 0) {
    fmt::print(stderr, "transfers failed though nobody was killed\n");
  }
  const bool good = quiet && totals.wrong == 0 && totals.from_gpu > 0 &&
                    (killed != 0 || totals.failed == 0);
  if (!good) fmt::print(stderr, "{}\n", (*daemon)->log());
  engines.clear();
  return good && (*daemon)->Stop() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace kvferry::test

int main(int argc, char** argv) {
  uint32_t rounds = 60;
  uint64_t seed = 1;
  uint32_t engines = 4;
  bool keep_worker = false;
  CLI::App app("Engines on a GPU whose pool is too small");
  app.add_option("--rounds", rounds, "of 40 steps an engine");
  app.add_option("--seed", seed, "of everything random");
  app.add_option("--engines", engines, "threads, each with a client");
  app.add_flag("--keep-worker", keep_worker, "kill no worker");
  CLI11_PARSE(app, argc, argv);
  if (const char* scale = std::getenv("KVFERRY_STRESS_SCALE")) {
    rounds = std::max(1u, static_cast<uint32_t>(rounds * std::atof(scale)));
    fmt::print("scaled by {}: {} rounds\n", scale, rounds);
  }
  return kvferry::test::Run(rounds, seed, engines, keep_worker);
}
