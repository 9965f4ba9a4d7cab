// One client used by many threads while blocks come and go.

#include <atomic>
#include <random>
#include <thread>

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

class ClientThreadsTest : public ClientFixture {};

// Goal    Every hit has the bytes of its key, whoever publishes and evicts.
// Method  The pool holds half of the prompts; two readers and one publisher
//         share a Client, and the content is a function of the key.
TEST_F(ClientThreadsTest, ReadersAndAPublisherShareAClient) {
  StartDaemon("16MiB");
  constexpr uint64_t kPage = 4096;
  auto client = Attach(Options(Spec("model", kPage)));
  constexpr uint64_t kPrompts = 256;
  constexpr uint64_t kBlocks = 32;
  const auto keys_of = [](uint64_t prompt) {
    return Keys(prompt * kBlocks, kBlocks);
  };
#ifdef KVFERRY_SANITIZED
  constexpr uint64_t kHitsWanted = 3'000;
#else
  constexpr uint64_t kHitsWanted = 100'000;
#endif
  std::atomic<uint64_t> hits{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> failed{0};
  const absl::Time deadline = absl::Now() + absl::Seconds(40);
  const auto busy = [&] {
    return hits.load() < kHitsWanted && wrong.load() == 0 &&
           failed.load() == 0 && absl::Now() < deadline;
  };
  const auto read = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    PinnedPrefix prefix;
    while (busy()) {
      const std::vector<BlockKey> keys = keys_of(random() % kPrompts);
      if (!client->Match(keys, &prefix).ok()) failed.fetch_add(1);
      if (!PagesAreRight(prefix, keys)) wrong.fetch_add(1);
      hits.fetch_add(prefix.block_count());
    }
  };
  std::thread first(read, 1);
  std::thread second(read, 2);
  std::mt19937_64 random(3);
  while (busy()) {
    const auto published = Publish(client.get(), keys_of(random() % kPrompts));
    if (!published.ok()) failed.fetch_add(1);
  }
  first.join();
  second.join();

  EXPECT_GE(hits.load(), kHitsWanted);
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(failed.load(), 0);
  const auto namespaces = Admin()->Namespaces();
  ASSERT_THAT(namespaces, IsOk());
  EXPECT_GT((*namespaces)[0].evicted_blocks, 0);
}

// Goal    Threads in the middle of Match do not notice that the attachment
//         under them is replaced.
TEST_F(ClientThreadsTest, MatchGoesOnThroughARestart) {
  StartDaemon("16MiB");
  auto client = Attach();
  const std::vector<BlockKey> keys = Keys(0, 50);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(50));
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> calls{0};
  const auto read = [&] {
    PinnedPrefix prefix;
    while (!stop.load()) {
      if (!client->Match(keys, &prefix).ok() || !PagesAreRight(prefix, keys)) {
        wrong.fetch_add(1);
      }
      calls.fetch_add(1);
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (int round = 0; round < 2; ++round) {
    const uint64_t epoch = client->info().epoch;
    daemon_->Kill();
    const uint64_t before = calls.load();
    EXPECT_TRUE(Eventually([&] { return calls.load() > before + 10; }));
    ASSERT_THAT(daemon_->Restart(), IsOk());
    EXPECT_TRUE(Eventually(
        [&] { return client->connected() && client->info().epoch != epoch; }));
    EXPECT_TRUE(Eventually([&] {
      const auto published = Publish(client.get(), keys);
      return published.ok() && *published == 50;
    }));
  }
  stop.store(true);
  first.join();
  second.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace kvferry::test
