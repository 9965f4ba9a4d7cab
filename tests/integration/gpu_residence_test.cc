// What clients see of blocks in GPU memory: who hits which residence, and what
// becomes of it when memory is short, a worker dies, or the daemon.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "kvferry/client.h"
#include "kvferry/gpu.h"
#include "tests/integration/gpu_daemon_fixture.h"

namespace kvferry::test {
namespace {

using testing::HasSubstr;

absl::Time Later() { return absl::Now() + absl::Seconds(20); }

class GpuResidenceTest : public GpuDaemonTest {
 protected:
  // One client's process, as far as blocks go: its engine's memory on the
  // device, and a client that opened it.
  struct Engine {
    std::unique_ptr<Client> client;
    std::unique_ptr<kvferry::Gpu> gpu;
  };

  std::unique_ptr<Client> AttachClient(
      ResidenceUse residences = ResidenceUse::kHost) {
    AttachOptions options;
    options.socket_path = daemon_->socket_path();
    options.spec = SmallSpec();
    options.residences = residences;
    auto client = Client::Attach(options);
    EXPECT_THAT(client, IsOk());
    return client.ok() ? *std::move(client) : nullptr;
  }
  // With the pool's memory imported.
  Engine AttachEngine() {
    Engine engine;
    engine.client = AttachClient();
    GpuOptions options;
    options.device = TestDeviceName();
    auto gpu = kvferry::Gpu::Open(engine.client.get(), options);
    EXPECT_THAT(gpu, IsOk());
    if (!gpu.ok()) return engine;
    engine.gpu = *std::move(gpu);
    EXPECT_TRUE(Becomes([&] { return engine.gpu->has_pool(); }))
        << engine.gpu->pool_status();
    return engine;
  }

  // --- the engine's memory: block i holds the payload of keys[i] ---

  void FillEngine(const std::vector<BlockKey>& keys) {
    auto memory = Device().AllocatePrivate(keys.size() * kBlockBytes);
    ASSERT_THAT(memory, IsOk());
    engine_ = *std::move(memory);
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::vector<std::byte> payload = PayloadOf(keys[i]);
      CopyNow(engine_->address() + i * kBlockBytes, payload.data());
    }
    PagedOptions options;
    const GroupSpec group = SmallSpec().groups[0];
    options.layers = {
        {.base = engine_->address(),
         .kv_stride = 0,
         .block_stride = static_cast<int64_t>(kBlockBytes),
         .token_stride = static_cast<int64_t>(group.token_bytes()),
         .head_stride = static_cast<int64_t>(group.head_bytes)}};
    options.block_count = keys.size();
    auto paged = PagedMemory::Create(group, options);
    ASSERT_THAT(paged, IsOk());
    paged_ = std::make_unique<PagedMemory>(*std::move(paged));
  }
  static std::vector<uint64_t> Blocks(size_t count) {
    std::vector<uint64_t> blocks(count);
    for (size_t i = 0; i < count; ++i) blocks[i] = i;
    return blocks;
  }

  // Publishes the keys from the engine's memory, into the GPU as far as there
  // is room; returns where each went.
  std::string Publish(const Engine& engine, const std::vector<BlockKey>& keys) {
    FillEngine(keys);
    PublicationOptions options;
    options.residence = BlockResidence::kGpu;
    auto publication = engine.client->OpenPublication(options);
    EXPECT_THAT(publication, IsOk());
    if (!publication.ok()) return "";
    EXPECT_THAT(publication->Begin(0, {}, keys), IsOk());
    std::string where;
    for (uint32_t p = 0; p < keys.size(); ++p) {
      where += Letter(publication->residence(p));
    }
    const std::vector<uint64_t> blocks = Blocks(keys.size());
    auto transfer =
        engine.gpu->PublishFrom(&*publication, 0, *paged_, blocks, GpuStream{});
    EXPECT_THAT(transfer, IsOk());
    if (!transfer.ok()) return where;
    EXPECT_THAT(transfer->Wait(Later()), IsOk());
    EXPECT_THAT(publication->Close(Later()), IsOk());
    return where;
  }

  static char Letter(BlockResidence residence) {
    switch (residence) {
      case BlockResidence::kHost:
        return 'H';
      case BlockResidence::kGpu:
        return 'G';
      case BlockResidence::kNone:
        break;
    }
    return '-';
  }
  static std::string Residences(const PinnedPrefix& prefix) {
    std::string where;
    for (uint32_t p = 0; p < prefix.block_count(); ++p) {
      where += Letter(prefix.residence(p));
    }
    return where;
  }
  // What a match by `client` hits now.
  static std::string Hits(Client* client, const std::vector<BlockKey>& keys) {
    PinnedPrefix prefix;
    EXPECT_THAT(client->Match(keys, &prefix), IsOk());
    return Residences(prefix);
  }
  static bool IsPayload(std::span<const std::byte> page, const BlockKey& key) {
    const std::vector<std::byte> payload = PayloadOf(key);
    return page.size() == payload.size() &&
           std::memcmp(page.data(), payload.data(), page.size()) == 0;
  }

  // While it is stopped nothing is copied: keys stay where they were published.
  void StopWorker() {
    stopped_ = static_cast<pid_t>(Gpu().worker_pid);
    ASSERT_NE(stopped_, 0);
    ASSERT_EQ(::kill(stopped_, SIGSTOP), 0);
  }
  void ContinueWorker() {
    if (stopped_ != 0) ::kill(stopped_, SIGCONT);
    stopped_ = 0;
  }
  void TearDown() override {
    ContinueWorker();
    paged_.reset();
    engine_.reset();
    GpuDaemonTest::TearDown();
  }

 private:
  std::unique_ptr<gpu::DeviceMemory> engine_;
  std::unique_ptr<PagedMemory> paged_;
  pid_t stopped_ = 0;
};

// Goal    A key in a GPU alone is a hit for who decides and for who reaches it,
//         and on its way for everybody else, until its copy is there.
// Method  The worker is stopped while the keys are published, so that there is
//         no copy; then it goes on.
TEST_F(GpuResidenceTest, AKeyInAGpuAloneIsOnItsWayToTheHosts) {
  StartDaemon();
  const Engine engine = AttachEngine();
  ASSERT_NE(engine.gpu, nullptr);
  const auto scheduler = AttachClient(ResidenceUse::kAny);
  const auto host = AttachClient();
  const std::vector<BlockKey> keys = FreshKeys(3);
  StopWorker();

  ASSERT_EQ(Publish(engine, keys), "GGG");

  EXPECT_EQ(Hits(engine.client.get(), keys), "GGG");
  EXPECT_EQ(Hits(scheduler.get(), keys), "GGG");
  EXPECT_EQ(Hits(host.get(), keys), "");
  const auto coming = host->Lookup(keys);
  ASSERT_THAT(coming, IsOk());
  EXPECT_EQ(coming->answer, LookupAnswer::kAskAgain);
  EXPECT_EQ(coming->tokens, 0);
  EXPECT_EQ(coming->coming_tokens, 48);
  PrefixStream stream;
  ASSERT_THAT(host->Match(keys, StreamOptions(), &stream), IsOk());
  EXPECT_FALSE(stream.done()) << stream.status();

  ContinueWorker();

  ASSERT_THAT(stream.WaitChunk(3, Later()), IsOk());
  for (uint32_t p = 0; p < 3; ++p) {
    EXPECT_TRUE(IsPayload(stream.page(p), keys[p])) << p;
  }
  EXPECT_EQ(Hits(host.get(), keys), "HHH");
  // Who decides takes the host's now; who has the device still prefers it.
  EXPECT_EQ(Hits(scheduler.get(), keys), "HHH");
  EXPECT_EQ(Hits(engine.client.get(), keys), "GGG");
}

// Goal    What was pinned in a GPU's memory is not believed after its worker
//         died; the copies in host memory are hits, and new memory is used.
TEST_F(GpuResidenceTest, AWorkersDeathFailsTheCheck) {
  StartDaemon();
  const Engine engine = AttachEngine();
  ASSERT_NE(engine.gpu, nullptr);
  const std::vector<BlockKey> keys = FreshKeys(3);
  ASSERT_EQ(Publish(engine, keys), "GGG");
  const auto host = AttachClient();
  ASSERT_TRUE(Becomes([&] { return Hits(host.get(), keys) == "HHH"; }));
  PinnedPrefix prefix;
  ASSERT_THAT(engine.client->Match(keys, &prefix), IsOk());
  ASSERT_EQ(Residences(prefix), "GGG");
  EXPECT_THAT(prefix.Check(), IsOk());

  KillWorker();

  EXPECT_TRUE(Becomes([&] { return !prefix.Check().ok(); }));
  EXPECT_THAT(prefix.Check(), StatusIs(absl::StatusCode::kAborted,
                                       HasSubstr("memory of GPU pool 1")));
  prefix.Release();
  EXPECT_EQ(Hits(engine.client.get(), keys), "HHH");
  EXPECT_TRUE(Becomes([&] { return engine.gpu->has_pool(); }))
      << engine.gpu->pool_status();
  // Blocks granted of the memory before find no space until they are recalled.
  EXPECT_TRUE(Becomes([&] { return Publish(engine, FreshKeys(1)) == "G"; }));
  EXPECT_EQ(Hits(engine.client.get(), keys), "HHH");
}

// Goal    A begin that finds no room in the pool is one in host memory.
// Method  A pool of 256 blocks; nothing in it can be dropped, for the worker is
//         stopped and no block has its copy.
TEST_F(GpuResidenceTest, WhatFindsNoRoomIsTheHosts) {
  auto daemon = DaemonProcess::Start(SmallDaemon(GpuDaemonFlags("1MiB")));
  ASSERT_THAT(daemon, IsOk());
  daemon_ = *std::move(daemon);
  const Engine engine = AttachEngine();
  ASSERT_NE(engine.gpu, nullptr);
  StopWorker();
  constexpr uint32_t kKeys = 320;
  const std::vector<BlockKey> keys = FreshKeys(kKeys);

  const std::string where = Publish(engine, keys);

  EXPECT_EQ(where.size(), kKeys);
  EXPECT_THAT(where, HasSubstr("G"));
  EXPECT_THAT(where, HasSubstr("H"));
  EXPECT_EQ(where.find('-'), std::string::npos) << where;
  EXPECT_EQ(Hits(engine.client.get(), keys), where);

  ContinueWorker();
  const auto host = AttachClient();
  EXPECT_TRUE(Becomes(
      [&] { return Hits(host.get(), keys) == std::string(kKeys, 'H'); }));
  PinnedPrefix prefix;
  ASSERT_THAT(host->Match(keys, &prefix), IsOk());
  for (uint32_t p = 0; p < kKeys; ++p) {
    EXPECT_TRUE(IsPayload(prefix.page(p), keys[p])) << p;
  }
}

// Goal    After the daemon came back the device is open again, without a word
//         of the application's.
TEST_F(GpuResidenceTest, ANewDaemonsPoolsAreImportedAgain) {
  StartDaemon();
  const Engine engine = AttachEngine();
  ASSERT_NE(engine.gpu, nullptr);
  const uint64_t epoch = engine.client->info().epoch;
  PinnedPrefix before;
  const std::vector<BlockKey> keys = FreshKeys(2);
  ASSERT_EQ(Publish(engine, keys), "GG");
  ASSERT_THAT(engine.client->Match(keys, &before), IsOk());
  ASSERT_EQ(Residences(before), "GG");

  daemon_->Kill();
  EXPECT_TRUE(Becomes([&] { return !before.Check().ok(); }));
  ASSERT_THAT(daemon_->Restart(), IsOk());

  ASSERT_TRUE(Becomes([&] {
    return engine.client->connected() && engine.client->info().epoch != epoch &&
           engine.gpu->has_pool();
  })) << engine.gpu->pool_status();
  before.Release();
  EXPECT_TRUE(Becomes([&] { return Publish(engine, FreshKeys(1)) == "G"; }));
}

}  // namespace
}  // namespace kvferry::test
