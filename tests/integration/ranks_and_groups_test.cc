// Blocks of several writers, prompts of several layer groups.

#include "tests/integration/client_fixture.h"

namespace kvferry::test {
namespace {

class RanksTest : public ClientFixture {
 protected:
  void SetUp() override {
    StartDaemon();
    spec_ = Spec("model", kPageBytes, 2);
  }
  absl::StatusOr<Publication> OpenSlice(Client* client, uint32_t slice) const {
    PublicationOptions options;
    options.engine_instance = 11;
    options.publication = 22;
    options.slice_first = slice;
    options.slice_count = 1;
    return client->OpenPublication(options);
  }
  static void Fill(Publication* publication, const std::vector<BlockKey>& keys,
                   uint32_t slice) {
    for (uint32_t p = 0; p < publication->size(); ++p) {
      const std::span<std::byte> page = publication->page(p, slice);
      ASSERT_EQ(page.size(), kPageBytes);
      const std::vector<std::byte> bytes = PageOf(keys[p], slice, kPageBytes);
      std::memcpy(page.data(), bytes.data(), bytes.size());
    }
  }
  NamespaceSpec spec_;
};

TEST_F(RanksTest, ABlockIsVisibleWhenEverySliceIsCommitted) {
  auto first = Attach(Options(spec_));
  auto second = Attach(Options(spec_));
  auto reader = Attach(Options(spec_));
  const std::vector<BlockKey> keys = Keys(0, 20);
  auto slice0 = OpenSlice(first.get(), 0);
  ASSERT_THAT(slice0, IsOk());
  auto slice1 = OpenSlice(second.get(), 1);
  ASSERT_THAT(slice1, IsOk());

  ASSERT_THAT(slice0->Begin(0, {}, keys), IsOkAndHolds(0));
  EXPECT_TRUE(slice0->page(0, 1).empty());  // the other rank's
  Fill(&*slice0, keys, 0);
  ASSERT_THAT(slice0->CommitAndWait(0, 20), IsOk());
  EXPECT_EQ(slice0->outcome(3), BlockOutcome::kCommitted);
  PinnedPrefix prefix;
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);

  ASSERT_THAT(slice1->Begin(0, {}, keys), IsOkAndHolds(0));
  Fill(&*slice1, keys, 1);
  ASSERT_THAT(slice1->CommitAndWait(0, 12), IsOk());
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 12);
  EXPECT_TRUE(PagesAreRight(prefix, keys, /*slices=*/2));

  // The second rank gives the rest up: its half is missing for good.
  slice1->Abort();
  ASSERT_THAT(slice1->Close(), IsOk());
  ASSERT_THAT(slice0->Close(), IsOk());
  ASSERT_THAT(reader->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 12);
  auto admin = Admin();
  prefix.Release();
  EXPECT_TRUE(Eventually([&admin] {
    const auto namespaces = admin->Namespaces();
    return namespaces.ok() && (*namespaces)[0].groups[0].publishing == 0 &&
           (*namespaces)[0].groups[0].quarantined == 0;
  }));
}

TEST_F(RanksTest, AWriterOfAllSlicesPublishesWholeBlocks) {
  auto client = Attach(Options(spec_));
  const std::vector<BlockKey> keys = Keys(0, 10);
  ASSERT_THAT(Publish(client.get(), keys), IsOkAndHolds(10));
  PinnedPrefix prefix;
  ASSERT_THAT(client->Match(keys, &prefix), IsOk());
  EXPECT_EQ(prefix.block_count(), 10);
  EXPECT_TRUE(PagesAreRight(prefix, keys, /*slices=*/2));
}

class GroupsTest : public ClientFixture {
 protected:
  static constexpr uint32_t kFull = 0;
  static constexpr uint32_t kWindow = 1;
  static constexpr uint32_t kState = 2;

  void SetUp() override {
    StartDaemon();
    spec_ = Spec();
    spec_.groups[0].name = "full";
    GroupSpec window = OpaqueGroup(16, kPageBytes);
    window.name = "window";
    window.rule = HitRule::kTrailing;
    window.trailing_blocks = 2;
    GroupSpec state = OpaqueGroup(64, 4096);
    state.name = "state";
    state.rule = HitRule::kCheckpoint;
    spec_.groups.push_back(window);
    spec_.groups.push_back(state);
  }
  NamespaceSpec spec_;
};

TEST_F(GroupsTest, OneAnswerCoversEveryGroup) {
  auto client = Attach(Options(spec_));
  const std::vector<BlockKey> full = Keys(1000, 12);    // 192 tokens
  const std::vector<BlockKey> window = Keys(2000, 12);  // 192 tokens
  const std::vector<BlockKey> state = Keys(3000, 3);    // 192 tokens
  ASSERT_THAT(Publish(client.get(), full, kFull), IsOkAndHolds(12));
  // Only the window before token 128 is there.
  const std::vector<BlockKey> kept = {window[6], window[7]};
  ASSERT_THAT(Publish(client.get(), kept, kWindow), IsOkAndHolds(2));
  ASSERT_THAT(Publish(client.get(), {state[1]}, kState), IsOkAndHolds(1));

  PinnedPrefix prefix;
  const std::vector<GroupKeys> all = {
      {kFull, full}, {kWindow, window}, {kState, state}};
  ASSERT_THAT(client->Match(all, &prefix), IsOk());

  EXPECT_EQ(prefix.tokens(), 128);
  EXPECT_EQ(prefix.block_count(kFull), 8);
  EXPECT_EQ(prefix.first_block(kWindow), 6);
  EXPECT_EQ(prefix.block_count(kWindow), 2);
  EXPECT_EQ(prefix.first_block(kState), 1);
  EXPECT_EQ(prefix.block_count(kState), 1);
  EXPECT_TRUE(PagesAreRight(prefix, full, 1, kFull));
  EXPECT_TRUE(PagesAreRight(prefix, window, 1, kWindow));
  EXPECT_TRUE(PagesAreRight(prefix, state, 1, kState));

  // Groups that are not named do not count.
  const std::vector<GroupKeys> only_full = {{kFull, full}};
  ASSERT_THAT(client->Match(only_full, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 192);
  // One group's keys are none of another's.
  const std::vector<GroupKeys> mixed_up = {{kFull, window}};
  ASSERT_THAT(client->Match(mixed_up, &prefix), IsOk());
  EXPECT_EQ(prefix.tokens(), 0);
}

}  // namespace
}  // namespace kvferry::test
