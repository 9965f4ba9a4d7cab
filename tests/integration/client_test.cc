// A client and a real daemon: attach, publish, match, tickets, operators.

#include <algorithm>

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class ClientTest : public ClientFixture {
 protected:
  void SetUp() override { StartDaemon(); }
};

TEST_F(ClientTest, WhatOnePublishesAnotherMatches) {
  auto writer = Attach();
  AttachOptions read_only = Options();
  read_only.publish = false;
  auto reader = Attach(read_only);
  EXPECT_EQ(reader->info().spec, Spec());
  EXPECT_NE(reader->info().session, writer->info().session);
  EXPECT_EQ(reader->info().epoch, writer->info().epoch);
  EXPECT_TRUE(reader->connected());
  const std::vector<BlockKey> keys = Keys(0, 100);

  PinnedPrefix prefix;
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
  ASSERT_THAT(Publish(writer.get(), keys), IsOkAndHolds(100));
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());

  EXPECT_EQ(prefix.tokens(), 1600);
  EXPECT_TRUE(PagesAreRight(prefix, keys));
  EXPECT_THAT(prefix.Check(), IsOk());
  // Once more: all of them exist.
  EXPECT_THAT(Publish(writer.get(), keys), IsOkAndHolds(100));
  auto admin = Admin();
  const auto namespaces = admin->Namespaces();
  ASSERT_THAT(namespaces, IsOk());
  ASSERT_EQ(namespaces->size(), 1);
  EXPECT_EQ((*namespaces)[0].published_blocks, 100);
  EXPECT_EQ((*namespaces)[0].groups[0].ready, 100);
  EXPECT_EQ((*namespaces)[0].spec, Spec());
  const auto sessions = admin->Sessions();
  ASSERT_THAT(sessions, IsOk());
  ASSERT_EQ(sessions->size(), 2);
  EXPECT_TRUE(std::any_of(
      sessions->begin(), sessions->end(), [](const SessionInfo& session) {
        return !session.publish && session.pinned_blocks == 100 &&
               session.matches == 2 && session.client_name == "test";
      }));
}

TEST_F(ClientTest, AReaderMayNotPublish) {
  AttachOptions options = Options();
  options.publish = false;
  auto writer = Attach();
  auto reader = Attach(options);
  EXPECT_THAT(reader->OpenPublication(),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(Publish(reader.get(), Keys(0, 1)),
              StatusIs(absl::StatusCode::kPermissionDenied));
}

TEST_F(ClientTest, AttachSaysWhatDoesNotFit) {
  auto first = Attach();
  EXPECT_THAT(Client::Attach(Options(Spec("model", 2 * kPageBytes))),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("32768"), HasSubstr("16384"))));
  EXPECT_THAT(Client::Attach(Options(Spec("model", kPageBytes, 4))),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("slice"), HasSubstr("4"))));
  AttachOptions absent = Options(Spec("other"));
  absent.create = false;
  EXPECT_THAT(Client::Attach(absent), StatusIs(absl::StatusCode::kNotFound));
  NamespaceSpec empty = Spec();
  empty.groups.clear();
  EXPECT_THAT(Client::Attach(Options(empty)),
              StatusIs(absl::StatusCode::kInvalidArgument));
  AttachOptions nowhere = Options();
  nowhere.socket_path += ".not";
  EXPECT_THAT(Client::Attach(nowhere),
              StatusIs(absl::StatusCode::kUnavailable));

  AttachOptions existing = Options();
  existing.spec = {};
  existing.spec.name = "model";
  existing.accept_existing = true;
  auto tool = Attach(existing);
  EXPECT_EQ(tool->info().spec, Spec());
}

TEST_F(ClientTest, RefusesMalformedCalls) {
  auto client = Attach();
  PinnedPrefix prefix;
  EXPECT_THAT(client->Match(std::span<const BlockKey>(), &prefix),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(client->Match(Keys(0, 16385), &prefix),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16384")));
  const std::vector<BlockKey> keys = Keys(0, 2);
  const std::vector<GroupKeys> unknown = {{1, keys}};
  EXPECT_THAT(client->Match(unknown, &prefix),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const std::vector<GroupKeys> twice = {{0, keys}, {0, keys}};
  EXPECT_THAT(client->Match(twice, &prefix),
              StatusIs(absl::StatusCode::kInvalidArgument));

  PublicationOptions beyond;
  beyond.slice_first = 1;
  EXPECT_THAT(client->OpenPublication(beyond),
              StatusIs(absl::StatusCode::kInvalidArgument));
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  EXPECT_THAT(publication->Begin(0, {}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(publication->Begin(7, {}, keys),
              StatusIs(absl::StatusCode::kInvalidArgument));
  const std::vector<BlockKey> none(1);
  EXPECT_THAT(publication->Begin(0, {}, none),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(publication->Commit(0, 1),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(publication->Close(), IsOk());
  EXPECT_TRUE(client->connected());
}

// Goal    The life of a publication in place: nothing is visible before its
//         commit, what is not committed never is.
TEST_F(ClientTest, BlocksBecomeVisibleByTheirCommit) {
  auto client = Attach();
  const std::vector<BlockKey> keys = Keys(0, 40);
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_THAT(publication->Begin(0, {}, keys), IsOkAndHolds(0));
  ASSERT_EQ(publication->size(), 40);
  for (uint32_t p = 0; p < 40; ++p) {
    ASSERT_EQ(publication->outcome(p), BlockOutcome::kWriting);
    const std::span<std::byte> page = publication->page(p, 0);
    ASSERT_EQ(page.size(), kPageBytes);
    EXPECT_TRUE(publication->page(p, 1).empty());
    const std::vector<std::byte> bytes = PageOf(keys[p], 0, kPageBytes);
    std::memcpy(page.data(), bytes.data(), bytes.size());
  }
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);

  // A second publication of the same keys: some exist, some are under way.
  ASSERT_THAT(publication->CommitAndWait(0, 10), IsOk());
  EXPECT_EQ(publication->outcome(9), BlockOutcome::kCommitted);
  EXPECT_TRUE(publication->page(9, 0).empty());
  PublicationOptions options;
  options.standby = false;
  auto second = client->OpenPublication(options);
  ASSERT_THAT(second, IsOk());
  ASSERT_THAT(second->Begin(0, {}, Keys(0, 12)), IsOkAndHolds(0));
  EXPECT_EQ(second->outcome(0), BlockOutcome::kExists);
  EXPECT_TRUE(Eventually(
      [&second] { return second->outcome(11) == BlockOutcome::kInFlight; }));
  EXPECT_THAT(second->CommitAndWait(0, 12), IsOk());
  EXPECT_THAT(second->Close(), IsOk());

  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 10);
  EXPECT_TRUE(PagesAreRight(prefix, keys));

  publication->Abort();
  EXPECT_EQ(publication->outcome(10), BlockOutcome::kVoid);
  EXPECT_EQ(publication->outcome(9), BlockOutcome::kCommitted);
  // Appending goes on after an abort.
  ASSERT_THAT(publication->Begin(0, keys[9], Keys(100, 1)), IsOkAndHolds(40));
  ASSERT_THAT(publication->CommitAndWait(40, 1), IsOk());
  EXPECT_EQ(publication->outcome(40), BlockOutcome::kCommitted);
  EXPECT_THAT(publication->Close(), IsOk());
  ASSERT_THAT(client->Match(Keys(10, 1), &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
}

TEST_F(ClientTest, ADestroyedPublicationAbortsWhatItDidNotCommit) {
  auto client = Attach();
  {
    auto publication = client->OpenPublication();
    ASSERT_THAT(publication, IsOk());
    ASSERT_THAT(publication->Begin(0, {}, Keys(0, 5)), IsOk());
    ASSERT_THAT(publication->CommitAndWait(0, 2), IsOk());
  }
  auto admin = Admin();
  EXPECT_TRUE(Eventually([&admin] {
    const auto namespaces = admin->Namespaces();
    return namespaces.ok() && (*namespaces)[0].groups[0].publishing == 0 &&
           (*namespaces)[0].aborted_blocks == 3;
  }));
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(Keys(0, 5), &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 2);
}

// Goal    Publishing beyond the capacity evicts; what is pinned stays, with
//         its bytes.
TEST_F(ClientTest, OldBlocksMakeRoomAndPinnedOnesStay) {
  auto client = Attach();
  const uint32_t capacity = client->info().block_capacity;
  const std::vector<BlockKey> pinned_keys = Keys(0, 50);
  ASSERT_THAT(Publish(client.get(), pinned_keys), IsOkAndHolds(50));
  PinnedPrefix pinned;
  ASSERT_THAT(client->Match(pinned_keys, &pinned), IsOk());
  ASSERT_EQ(pinned.block_count(), 50);

  for (uint64_t first = 1000; first < 1000 + 2 * capacity; first += 500) {
    const auto published = Publish(client.get(), Keys(first, 500));
    ASSERT_THAT(published, IsOkAndHolds(500)) << first;
  }

  EXPECT_TRUE(PagesAreRight(pinned, pinned_keys));
  EXPECT_THAT(pinned.Check(), IsOk());
  PinnedPrefix again;
  ASSERT_THAT(client->Match(pinned_keys, &again), IsOk());
  EXPECT_EQ(again.block_count(), 50);
  const auto namespaces = Admin()->Namespaces();
  ASSERT_THAT(namespaces, IsOk());
  EXPECT_GT((*namespaces)[0].evicted_blocks, capacity / 2);
}

TEST_F(ClientTest, FullOfPinnedBlocksIsNoSpaceAtOnce) {
  auto client = Attach();
  const uint32_t capacity = client->info().block_capacity;
  std::vector<PinnedPrefix> pins;
  uint64_t next = 0;
  uint64_t pinned = 0;
  // Some blocks stay granted ahead, so it ends a little before the capacity.
  for (uint32_t published = 1; published > 0 && next < 3 * capacity;) {
    const std::vector<BlockKey> keys = Keys(next, 100);
    const absl::Time before = absl::Now();
    const auto result = Publish(client.get(), keys);
    ASSERT_THAT(result, IsOk());
    EXPECT_LT(absl::Now() - before, absl::Seconds(4));
    published = *result;
    next += 100;
    if (published == 0) break;
    ASSERT_THAT(client->Match(keys, &pins.emplace_back()), IsOk());
    pinned += pins.back().block_count();
  }
  EXPECT_GE(pinned, capacity * 9 / 10);
  auto publication = client->OpenPublication();
  ASSERT_THAT(publication, IsOk());
  ASSERT_THAT(publication->Begin(0, {}, Keys(900000, 3)), IsOk());
  EXPECT_TRUE(Eventually([&publication] {
    return publication->outcome(2) == BlockOutcome::kNoSpace;
  }));
  EXPECT_TRUE(publication->page(2, 0).empty());
  ASSERT_THAT(publication->Close(), IsOk());

  pins.clear();
  EXPECT_THAT(Publish(client.get(), Keys(950000, 100)), IsOkAndHolds(100));
}

TEST_F(ClientTest, ClearAndEvictTakeBlocksOutAndSparePins) {
  auto client = Attach();
  const std::vector<BlockKey> keys = Keys(0, 20);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(20));
  auto admin = Admin();
  PinnedPrefix pinned;
  ASSERT_THAT(client->Match(Keys(0, 5), &pinned), IsOk());

  const auto evicted = admin->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 15);
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 5);
  prefix.Release();

  auto under_way = client->OpenPublication();
  ASSERT_THAT(under_way, IsOk());
  ASSERT_THAT(under_way->Begin(0, {}, Keys(50, 2)), IsOk());
  const auto cleared = admin->Clear("model");
  ASSERT_THAT(cleared, IsOk());
  EXPECT_GE(cleared->blocks, 5);
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
  EXPECT_TRUE(PagesAreRight(pinned, keys));
  ASSERT_THAT(under_way->CommitAndWait(0, 2), IsOk());
  EXPECT_EQ(under_way->outcome(0), BlockOutcome::kVoid);
  ASSERT_THAT(client->Match(Keys(50, 2), &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(20));
  EXPECT_THAT(admin->Clear("nobody"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(ClientTest, AnOperatorMayConnectLongBeforeAsking) {
  auto admin = Admin();
  // The daemon has closed the connection meanwhile, as it does after 2 s.
  daemon_->Kill();
  ASSERT_THAT(daemon_->Restart(), IsOk());
  EXPECT_THAT(admin->Status(), IsOk());
  daemon_->Kill();
  // Once somebody asked, a lost daemon is an error.
  EXPECT_THAT(admin->Status(), StatusIs(absl::StatusCode::kUnavailable));
  ASSERT_THAT(daemon_->Restart(), IsOk());
  EXPECT_THAT(admin->Status(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(ClientTest, BlocksAreListedByTheirKey) {
  auto client = Attach();
  const std::vector<BlockKey> keys = Keys(0, 4);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(4));
  const auto blocks =
      Admin()->Blocks("model", ToHex(keys[2]).substr(0, 12), 10);
  ASSERT_THAT(blocks, IsOk());
  ASSERT_EQ(blocks->size(), 1);
  EXPECT_EQ((*blocks)[0].key, keys[2]);
  EXPECT_EQ((*blocks)[0].parent, keys[1]);
  EXPECT_EQ((*blocks)[0].children, 1);
  EXPECT_EQ((*blocks)[0].state, "ready");
  EXPECT_GE((*blocks)[0].bytes, kPageBytes);
}

TEST_F(ClientTest, ATicketHandsPinnedBlocksOver) {
  auto giver = Attach();
  auto taker = Attach();
  const std::vector<BlockKey> keys = Keys(0, 30);
  ASSERT_THAT(Publish(giver.get(), keys), IsOkAndHolds(30));

  const auto ticket = giver->MintTicket(0, keys);
  ASSERT_THAT(ticket, IsOk());
  // Held for the taker, though nobody else has them pinned.
  const auto evicted = Admin()->Evict("model", "", 100);
  ASSERT_THAT(evicted, IsOk());
  EXPECT_EQ(evicted->evicted, 0);
  const auto content = taker->RedeemTicket(*ticket);
  ASSERT_THAT(content, IsOk());
  EXPECT_EQ(content->keys, keys);
  EXPECT_EQ(content->group, 0);
  PinnedPrefix prefix;
  ASSERT_THAT(taker->Match(content->keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 30);
  EXPECT_THAT(taker->ReleaseTicket(*ticket), IsOk());
  EXPECT_THAT(taker->RedeemTicket(*ticket),
              StatusIs(absl::StatusCode::kNotFound));

  Ticket forged = *ticket;
  forged.bytes.back() ^= 1;
  EXPECT_THAT(taker->RedeemTicket(forged),
              StatusIs(absl::StatusCode::kPermissionDenied));
  EXPECT_THAT(taker->RedeemTicket({}),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(giver->MintTicket(0, Keys(77, 1)),
              StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(giver->MintTicket(0, Keys(0, 16385)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16384")));
}

TEST_F(ClientTest, NamespacesDoNotMeet) {
  auto admin = Admin();
  ASSERT_THAT(admin->CreateNamespace(Spec("one"), 16 << 20), IsOk());
  ASSERT_THAT(admin->CreateNamespace(Spec("two"), 16 << 20), IsOk());
  EXPECT_THAT(admin->CreateNamespace(Spec("one"), 16 << 20),
              StatusIs(absl::StatusCode::kAlreadyExists));
  auto one = Attach(Options(Spec("one")));
  auto two = Attach(Options(Spec("two")));
  EXPECT_NE(one->info().namespace_id, two->info().namespace_id);
  EXPECT_NE(one->info().salt, two->info().salt);

  ASSERT_THAT(Publish(one.get(), Keys(0, 3)), IsOkAndHolds(3));
  PinnedPrefix prefix;
  ASSERT_THAT(two->Match(Keys(0, 3), &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
  EXPECT_EQ(Admin()->Namespaces()->size(), 2);
  const auto status = admin->Status();
  ASSERT_THAT(status, IsOk());
  EXPECT_EQ(status->namespace_count, 2);
  EXPECT_EQ(status->session_count, 2);
  EXPECT_EQ(status->pid, static_cast<uint32_t>(daemon_->pid()));
}

}  // namespace
}  // namespace kvferry::test
