// One client used by many threads while blocks come and go.
//
// What a thread reads was written by another process: from a page that this
// one wrote to its reader the order runs through the daemon, which
// ThreadSanitizer does not see.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

// A process that publishes prompts on demand.
class PublisherProcess {
 public:
  using Publish = std::function<bool(uint64_t prompt)>;

  // Forks: REQUIRES that this process has no other thread yet. `make` runs in
  // the child.
  explicit PublisherProcess(const std::function<Publish()>& make) {
    // Not for a daemon that is started later: it would keep them open.
    EXPECT_EQ(::pipe2(orders_, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(results_, O_CLOEXEC), 0);
    child_ = ::fork();
    if (child_ != 0) return;
    ::close(orders_[1]);
    const Publish publish = make();
    uint64_t prompt;
    while (::read(orders_[0], &prompt, sizeof(prompt)) == sizeof(prompt)) {
      const char good = publish(prompt) ? 1 : 0;
      if (::write(results_[1], &good, 1) != 1) break;
    }
    ::_exit(0);
  }
  ~PublisherProcess() {
    for (int fd : {orders_[0], orders_[1], results_[0], results_[1]}) {
      ::close(fd);
    }
    ::waitpid(child_, nullptr, 0);
  }

  bool operator()(uint64_t prompt) {
    char good = 0;
    return ::write(orders_[1], &prompt, sizeof(prompt)) == sizeof(prompt) &&
           ::read(results_[0], &good, 1) == 1 && good == 1;
  }

 private:
  int orders_[2];
  int results_[2];
  pid_t child_ = 0;
};

class ClientThreadsTest : public ClientFixture {
 protected:
  static constexpr uint64_t kPage = 4096;
  static constexpr uint64_t kPromptBlocks = 32;

  static std::vector<BlockKey> PromptKeys(uint64_t prompt) {
    return Keys(prompt * kPromptBlocks, kPromptBlocks);
  }
  std::unique_ptr<PublisherProcess> StartPublisher() {
    return std::make_unique<PublisherProcess>([this] {
      std::shared_ptr<Client> client = Attach(Options(Spec("model", kPage)));
      return [client](uint64_t prompt) {
        const auto published = Publish(client.get(), PromptKeys(prompt));
        return published.ok() && *published == kPromptBlocks;
      };
    });
  }
};

// Goal    Every hit has the bytes of its key, whoever publishes and evicts.
// Method  The pool holds half of the prompts; two readers share a Client while
//         a process publishes, and the content is a function of the key.
TEST_F(ClientThreadsTest, ReadersShareAClientWhileBlocksComeAndGo) {
  StartDaemon("16MiB");
  constexpr uint64_t kPrompts = 256;
  constexpr uint64_t kPublishedWanted = 300;  // some of them twice
#ifdef KVFERRY_SANITIZED
  constexpr uint64_t kHitsWanted = 3'000;
#else
  constexpr uint64_t kHitsWanted = 100'000;
#endif
  const auto publisher = StartPublisher();
  auto client = Attach(Options(Spec("model", kPage)));
  std::atomic<uint64_t> hits{0};
  std::atomic<uint64_t> published{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> failed{0};
  const absl::Time deadline = absl::Now() + absl::Seconds(60);
  const auto busy = [&] {
    return (hits.load() < kHitsWanted || published.load() < kPublishedWanted) &&
           wrong.load() == 0 && failed.load() == 0 && absl::Now() < deadline;
  };
  const auto read = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    PinnedPrefix prefix;
    while (busy()) {
      const std::vector<BlockKey> keys = PromptKeys(random() % kPrompts);
      if (!client->Match(keys, &prefix).ok()) failed.fetch_add(1);
      if (!PagesAreRight(prefix, keys)) wrong.fetch_add(1);
      hits.fetch_add(prefix.block_count());
    }
  };
  std::thread first(read, 1);
  std::thread second(read, 2);
  std::mt19937_64 random(3);
  const auto evicted = [this] {
    const auto namespaces = Admin()->Namespaces();
    return namespaces.ok() ? (*namespaces)[0].evicted_blocks : 0;
  };
  while (busy()) {
    if (!(*publisher)(random() % kPrompts)) failed.fetch_add(1);
    published.fetch_add(1);
  }
  first.join();
  second.join();

  EXPECT_GE(hits.load(), kHitsWanted);
  EXPECT_EQ(wrong.load(), 0);
  EXPECT_EQ(failed.load(), 0);
  EXPECT_GT(evicted(), 0);
}

// Goal    Threads in the middle of Match do not notice that the attachment
//         under them is replaced.
TEST_F(ClientThreadsTest, MatchGoesOnThroughARestart) {
  StartDaemon("16MiB");
  const auto publisher = StartPublisher();
  auto client = Attach(Options(Spec("model", kPage)));
  ASSERT_TRUE((*publisher)(0));
  const std::vector<BlockKey> keys = PromptKeys(0);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> hits{0};
  const auto read = [&] {
    PinnedPrefix prefix;
    while (!stop.load()) {
      if (!client->Match(keys, &prefix).ok() || !PagesAreRight(prefix, keys)) {
        wrong.fetch_add(1);
      }
      if (prefix.block_count() == kPromptBlocks) hits.fetch_add(1);
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (int round = 0; round < 2; ++round) {
    const uint64_t epoch = client->info().epoch;
    daemon_->Kill();
    const uint64_t before = hits.load();
    EXPECT_TRUE(Eventually([&] { return hits.load() > before + 4; }));
    ASSERT_THAT(daemon_->Restart(), IsOk());
    EXPECT_TRUE(Eventually(
        [&] { return client->connected() && client->info().epoch != epoch; }));
    // The publisher attaches again by itself, and the new daemon is making its
    // memory: the first tries may find either missing.
    EXPECT_TRUE(Eventually([&] { return (*publisher)(0); }));
    const uint64_t after = hits.load();
    EXPECT_TRUE(Eventually([&] { return hits.load() > after + 4; }));
  }
  stop.store(true);
  first.join();
  second.join();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace kvferry::test
