// Clients that are killed or forked, daemons that are killed or restarted.

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

// How many mappings of client files this process has.
int ClientFilesMapped() {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    count += line.find("kvferry-client") != std::string::npos;
  }
  return count;
}

class ClientLifeTest : public ClientFixture {
 protected:
  void SetUp() override { StartDaemon(); }

  // Runs `body` in a child. The child tells by a byte that body has returned
  // (with its value), then waits to be killed or ends at once.
  pid_t Fork(const std::function<bool()>& body, bool wait_to_be_killed,
             int* ready_fd) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const bool good = body();
      const char byte = good ? 'y' : 'n';
      (void)!::write(ends[1], &byte, 1);
      while (wait_to_be_killed) ::pause();
      ::_exit(good ? 0 : 1);
    }
    ::close(ends[1]);
    *ready_fd = ends[0];
    return child;
  }
  static char ReadByte(int fd) {
    char byte = 0;
    (void)!::read(fd, &byte, 1);
    ::close(fd);
    return byte;
  }
};

// Goal    A killed client's pins, grants and half-written blocks are free
//         within a second, and other clients notice nothing.
TEST_F(ClientLifeTest, AKilledClientLeavesNothingBehind) {
  auto survivor = Attach();
  const std::vector<BlockKey> keys = Keys(0, 30);
  ASSERT_THAT(Publish(survivor.get(), keys), IsOkAndHolds(30));
  int ready;
  const AttachOptions options = Options();
  PinnedPrefix prefix;
  const pid_t child = Fork(
      [&] {
        // Lives until the kill: nothing of it may be torn down.
        auto* client = Client::Attach(options)->release();
        auto* publication = new Publication(*client->OpenPublication());
        return client->Match(keys, &prefix).ok() &&
               prefix.block_count() == 30 &&
               publication->Begin(0, {}, Keys(100, 10)).ok() &&
               publication->CommitAndWait(0, 4).ok();
      },
      /*wait_to_be_killed=*/true, &ready);
  ASSERT_EQ(ReadByte(ready), 'y');
  auto admin = Admin();
  ASSERT_EQ(admin->Sessions()->size(), 2);
  const auto before = admin->Evict("model", ToHex(keys[3]), 1);
  ASSERT_THAT(before, IsOk());
  EXPECT_EQ(before->pinned, 1);

  ASSERT_EQ(::kill(child, SIGKILL), 0);
  const absl::Time killed = absl::Now();
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);

  EXPECT_TRUE(Eventually(
      [&admin] {
        const auto namespaces = admin->Namespaces();
        const auto sessions = admin->Sessions();
        return namespaces.ok() && sessions.ok() && sessions->size() == 1 &&
               (*namespaces)[0].groups[0].publishing == 0 &&
               (*namespaces)[0].groups[0].quarantined == 0;
      },
      absl::Seconds(5)));
  EXPECT_LT(absl::Now() - killed, absl::Seconds(1));
  const auto after = admin->Evict("model", ToHex(keys[3]), 1);
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->evicted, 1);
  PinnedPrefix rest;
  ASSERT_THAT(survivor->Match(Keys(100, 10), &rest), IsOk());
  EXPECT_EQ(rest.block_count(), 4);
  EXPECT_TRUE(survivor->connected());
}

TEST_F(ClientLifeTest, AForkedChildIsRefusedAndHarmless) {
  auto client = Attach();
  const std::vector<BlockKey> keys = Keys(0, 10);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(10));
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_THAT(publication->Begin(0, {}, Keys(50, 1)), IsOk());
  int ready;
  const pid_t child = Fork(
      [&] {
        PinnedPrefix own;
        const auto refused = [](const absl::Status& status) {
          return absl::IsFailedPrecondition(status);
        };
        const bool good = refused(client->Match(keys, &own)) &&
                          refused(client->OpenPublication().status()) &&
                          refused(client->MintTicket(0, keys).status()) &&
                          refused(publication->Begin(0, {}, keys).status()) &&
                          refused(publication->Commit(0, 1)) &&
                          publication->page(0, 0).empty() &&
                          prefix.page(0).empty() && !client->connected();
        prefix.Release();
        publication = absl::UnknownError("destroyed");
        client.reset();
        return good;
      },
      /*wait_to_be_killed=*/false, &ready);
  EXPECT_EQ(ReadByte(ready), 'y');
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);

  // The parent's pins, session and publication are as they were.
  EXPECT_TRUE(PagesAreRight(prefix, keys));
  const auto evicted = Admin()->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 0);
  EXPECT_THAT(publication->CommitAndWait(0, 1), IsOk());
  EXPECT_EQ(publication->outcome(0), BlockOutcome::kCommitted);
}

TEST_F(ClientLifeTest, ADetachedClientIsGoneAtOnce) {
  auto admin = Admin();
  for (int i = 0; i < 5; ++i) {
    auto client = Attach();
    EXPECT_EQ(admin->Sessions()->size(), 1);
    client.reset();
    EXPECT_TRUE(Eventually([&admin] { return admin->Sessions()->empty(); }));
  }
}

// Goal    Between a crash of the daemon and its successor: matching goes on,
//         publishing says so, nothing hangs; then everything works again, and
//         old memory goes with its last pin.
TEST_F(ClientLifeTest, OutlivesTheDaemon) {
  auto client = Attach();
  const std::vector<BlockKey> keys = Keys(0, 40);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(40));
  PinnedPrefix before;
  ASSERT_THAT(client->Match(keys, &before), IsOk());
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_THAT(publication->Begin(0, {}, Keys(100, 3)), IsOk());
  const std::span<std::byte> page = publication->page(1, 0);
  ASSERT_FALSE(page.empty());
  const uint64_t old_epoch = client->info().epoch;

  daemon_->Kill();
  ASSERT_TRUE(Eventually([&client] { return !client->connected(); }));
  PinnedPrefix frozen;
  ASSERT_THAT(client->Match(keys, &frozen), IsOk());
  EXPECT_EQ(frozen.block_count(), 40);
  EXPECT_TRUE(PagesAreRight(frozen, keys));
  EXPECT_THAT(client->OpenPublication(),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(publication->Commit(0, 3),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(publication->outcome(0), BlockOutcome::kVoid);
  EXPECT_THAT(publication->Close(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(client->MintTicket(0, keys),
              StatusIs(absl::StatusCode::kUnavailable));
  page[0] = std::byte{1};  // still mapped for whoever is writing

  ASSERT_THAT(daemon_->Restart(), IsOk());
  ASSERT_TRUE(Eventually([&client] { return client->connected(); }));
  EXPECT_NE(client->info().epoch, old_epoch);
  EXPECT_TRUE(PagesAreRight(before, keys));
  EXPECT_TRUE(PagesAreRight(frozen, keys));
  EXPECT_EQ(ClientFilesMapped(), 2);
  before.Release();
  page[0] = std::byte{2};
  EXPECT_EQ(ClientFilesMapped(), 2);
  publication = absl::UnknownError("destroyed");
  frozen.Release();
  EXPECT_TRUE(Eventually([] { return ClientFilesMapped() == 1; }));

  const std::vector<BlockKey> fresh = Keys(500, 20);
  EXPECT_TRUE(Eventually([&] {
    // The new daemon is making its memory: the first tries may find none.
    const auto published = Publish(client.get(), fresh);
    return published.ok() && *published == 20;
  }));
  PinnedPrefix after;
  ASSERT_THAT(client->Match(fresh, &after), IsOk());
  EXPECT_EQ(after.block_count(), 20);
  EXPECT_TRUE(PagesAreRight(after, fresh));
}

TEST_F(ClientLifeTest, WithoutReattachItStaysAway) {
  AttachOptions options = Options();
  options.reattach = false;
  auto client = Attach(options);
  const std::vector<BlockKey> keys = Keys(0, 3);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(3));
  ASSERT_EQ(daemon_->Stop(), 0);
  ASSERT_TRUE(Eventually([&client] { return !client->connected(); }));
  ASSERT_THAT(daemon_->Restart(), IsOk());
  auto other = Attach();
  EXPECT_FALSE(client->connected());
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 3);
}

// Goal    A daemon that hangs costs its clients a deadline, not their lives.
TEST_F(ClientLifeTest, AStoppedDaemonCostsADeadline) {
  auto client = Attach();
  ASSERT_THAT(Publish(client.get(), Keys(0, 3)), IsOkAndHolds(3));
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_EQ(::kill(daemon_->pid(), SIGSTOP), 0);
  // More than can have been granted ahead: the daemon must answer.
  const absl::Time start = absl::Now();
  const auto begun = publication->Begin(0, {}, Keys(1000, 4000),
                                        start + absl::Milliseconds(200));
  EXPECT_THAT(begun, StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_LT(absl::Now() - start, absl::Seconds(3));
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(Keys(0, 3), &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 3);

  ASSERT_EQ(::kill(daemon_->pid(), SIGCONT), 0);
  EXPECT_THAT(Publish(client.get(), Keys(20, 3)), IsOkAndHolds(3));
  auto admin = Admin();
  publication = absl::UnknownError("destroyed");
  EXPECT_TRUE(Eventually([&admin] {
    const auto namespaces = admin->Namespaces();
    return namespaces.ok() && (*namespaces)[0].groups[0].publishing == 0;
  }));
}

}  // namespace
}  // namespace kvferry::test
