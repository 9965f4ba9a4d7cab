// What is evicted, in which order, and what is not.

#include "tests/unit/daemon/core/core_fixture.h"

namespace kvferry::core {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;

class EvictionTest : public CoreFixture {
 protected:
  // Publishes one more chain at `now_ms`.
  std::vector<uint32_t> At(uint64_t now_ms, TestSession& session,
                           uint32_t handle, const std::vector<BlockKey>& keys,
                           BlockKey parent = {}) {
    session.now_ms = now_ms;
    return Publish(session, handle, keys, parent);
  }
};

TEST_F(EvictionTest, TailsOfAPrefixGoBeforeItsHead) {
  Make(4);
  auto session = Session(0);
  Publish(*session, 1, {Key(1), Key(2), Key(3), Key(4)});

  EXPECT_EQ(core_->Evict("", 1, 10).evicted, 1u);
  EXPECT_FALSE(Ready(Key(4)));
  EXPECT_EQ(core_->Evict("", 2, 10).evicted, 2u);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_FALSE(Ready(Key(2)));
}

TEST_F(EvictionTest, TheColdestTailGoesFirst) {
  Make(4);
  auto session = Session(0);
  At(10, *session, 1, {Key(1)});
  At(20, *session, 2, {Key(2)});
  At(30, *session, 3, {Key(3)});

  // A touch makes the oldest the warmest.
  session->Touch(protocol::PackResidence(Find(Key(1))));
  core_->Tick(40);
  core_->Evict("", 1, 50);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_FALSE(Ready(Key(2)));
  EXPECT_TRUE(Ready(Key(3)));
}

TEST_F(EvictionTest, APrefixInheritsTheUseOfWhatContinuedIt) {
  Make(4);
  auto session = Session(0);
  At(10, *session, 1, {Key(1), Key(2)});
  At(20, *session, 2, {Key(3)});
  session->Touch(protocol::PackResidence(Find(Key(2))));
  core_->Tick(30);

  core_->Evict("", 1, 40);
  EXPECT_FALSE(Ready(Key(3)));
  core_->Evict("", 1, 40);

  EXPECT_FALSE(Ready(Key(2)));
  EXPECT_TRUE(Ready(Key(1)));  // used at 30 through Key(2)
}

// Goal    A batch of evictions takes the cold prefix whole before it touches a
//         warmer one, though only tails are candidates at any moment.
TEST_F(EvictionTest, ABatchDoesNotTakeTheTailOfEveryPrefix) {
  Make(640);  // evicted in batches of ten
  auto session = Session(0);
  std::vector<BlockKey> last_tails;
  for (uint64_t chain = 0; chain < 64; ++chain) {
    std::vector<BlockKey> keys;
    for (uint64_t i = 0; i < 10; ++i) keys.push_back(Key(100 + chain * 10 + i));
    session->replies.clear();
    At(10 * (chain + 1), *session, static_cast<uint32_t>(chain), keys);
    last_tails.push_back(keys.back());
  }

  session->replies.clear();
  At(10000, *session, 100, {Key(9000)});

  // What the session was granted ahead and what eviction freed came from the
  // coldest chains; the others are whole.
  for (size_t chain = 4; chain < 64; ++chain) {
    EXPECT_TRUE(Ready(last_tails[chain])) << "chain " << chain;
  }
  EXPECT_FALSE(Ready(Key(100)));
}

TEST_F(EvictionTest, PublishingIntoFullMemoryEvicts) {
  Make(4);
  auto session = Session(0);
  At(10, *session, 1, {Key(1)});
  At(20, *session, 2, {Key(2)});
  At(30, *session, 3, {Key(3)});
  At(40, *session, 4, {Key(4)});

  At(50, *session, 5, {Key(5)});

  EXPECT_TRUE(Ready(Key(5)));
  EXPECT_FALSE(Ready(Key(1)));
  EXPECT_EQ(core_->counters().evicted_blocks, 1u);
}

TEST_F(EvictionTest, PinnedBlocksStayAndAreRestoredUnderTheSameGeneration) {
  Make(4);
  auto session = Session(0);
  const uint32_t block = Publish(*session, 1, {Key(1)})[0];
  const protocol::Residence before = Find(Key(1));
  session->Pin(block);

  const EvictCounts counts = core_->Evict("", 8, 10);

  EXPECT_EQ(counts.evicted, 0u);
  EXPECT_EQ(counts.pinned, 1u);
  EXPECT_EQ(Find(Key(1)), before);
}

TEST_F(EvictionTest, PinsOfADeadSessionCountNoMore) {
  Make(4);
  auto publisher = Session(0);
  auto reader = Session(1);
  const uint32_t block = Publish(*publisher, 1, {Key(1)})[0];
  reader->Pin(block);
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);

  core_->RemoveSession(1, 10);

  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 1u);
}

TEST_F(EvictionTest, TheNextUseOfABlockHasTheNextGeneration) {
  Make(1);
  auto session = Session(0);
  Publish(*session, 1, {Key(1)});
  const protocol::Residence first = Find(Key(1));

  Publish(*session, 2, {Key(2)});

  const protocol::Residence second = Find(Key(2));
  EXPECT_EQ(second.block, first.block);
  EXPECT_EQ(second.generation, first.generation + 1);
}

TEST_F(EvictionTest, AMiddleBlockCanBeEvictedByItsKey) {
  Make(4);
  auto session = Session(0);
  Publish(*session, 1, {Key(1), Key(2), Key(3)});
  bool more = false;
  std::string hex;
  for (const BlockDescription& block : core_->Describe("", 10, &more)) {
    if (block.key == Key(2)) {
      EXPECT_EQ(block.parent, Key(1));
      EXPECT_EQ(block.children, 1u);
      for (int i = 0; i < 8; ++i) {
        const auto byte = static_cast<unsigned>(block.key.lo >> (8 * i) & 255);
        char digits[3];
        std::snprintf(digits, sizeof(digits), "%02x", byte);
        hex += digits;
      }
    }
  }
  ASSERT_EQ(hex.size(), 16u);

  EXPECT_EQ(core_->Evict(hex, 10, 10).evicted, 1u);

  EXPECT_TRUE(Ready(Key(1)));
  EXPECT_FALSE(Ready(Key(2)));
  EXPECT_TRUE(Ready(Key(3)));
  // The orphan and the head can both go now.
  EXPECT_EQ(core_->Evict("", 10, 10).evicted, 2u);
}

TEST_F(EvictionTest, ClearLeavesPinnedBytesToTheirReaders) {
  Make(4);
  auto session = Session(0);
  const uint32_t block = Publish(*session, 1, {Key(1), Key(2)})[0];
  session->Pin(block);
  const uint64_t epoch = core_->content_epoch();

  EXPECT_EQ(core_->Clear(), 2u);

  EXPECT_EQ(core_->content_epoch(), epoch + 1);
  EXPECT_FALSE(Ready(Key(1)));
  EXPECT_EQ(core_->counts(0).quarantined, 1u);
  session->Unpin(block);
  core_->Tick(20);
  EXPECT_EQ(core_->counts(0).free, 4u);
}

TEST_F(EvictionTest, ATicketHoldsItsBlocksUntilItsConsumersAreDone) {
  Make(4);
  auto session = Session(0);
  Publish(*session, 1, {Key(1), Key(2)});
  const std::vector<BlockKey> keys = {Key(1), Key(2)};
  auto lease = core_->HoldLease(Request(keys, 2));
  ASSERT_THAT(lease, IsOk());

  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
  ASSERT_THAT(core_->ReleaseLease(*lease), IsOk());
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 0u);
  ASSERT_THAT(core_->ReleaseLease(*lease), IsOk());

  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 2u);
  EXPECT_THAT(core_->ReleaseLease(*lease),
              StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(EvictionTest, ATicketEndsAtItsDeadlineWithoutItsConsumers) {
  Make(4);
  auto session = Session(0);
  Publish(*session, 1, {Key(1)});
  const std::vector<BlockKey> keys = {Key(1)};
  auto lease = core_->HoldLease(Request(keys));
  ASSERT_THAT(lease, IsOk());

  core_->Tick(999);
  EXPECT_NE(core_->FindLease(*lease), nullptr);
  core_->Tick(1000);

  EXPECT_EQ(core_->FindLease(*lease), nullptr);
  EXPECT_EQ(core_->Evict("", 8, 1001).evicted, 1u);
}

TEST_F(EvictionTest, ATicketNamesTheBlockThatIsMissing) {
  Make(4);
  auto session = Session(0);
  Publish(*session, 1, {Key(1)});
  const std::vector<BlockKey> keys = {Key(1), Key(2)};

  EXPECT_THAT(core_->HoldLease(Request(keys)),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("block 1")));
  EXPECT_EQ(core_->Evict("", 8, 10).evicted, 1u);
}

TEST_F(EvictionTest, TicketsHoldAtMostHalfOfTheBlocksAndNoneTwice) {
  Make(4);
  auto session = Session(0);
  Publish(*session, 1, {Key(1), Key(2), Key(3)});
  const std::vector<BlockKey> three = {Key(1), Key(2), Key(3)};
  const std::vector<BlockKey> twice = {Key(1), Key(1)};

  EXPECT_THAT(core_->HoldLease(Request(three)),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       HasSubstr("the limit is 2")));
  EXPECT_THAT(
      core_->HoldLease(Request(twice)),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("named twice")));
}

// Goal    A pool full of pinned blocks is not scanned anew for every begin, and
//         what is unpinned is found.
TEST_F(EvictionTest, ABlockThatIsUnpinnedInAPinnedPoolIsFoundWithinATick) {
  Make(2000);
  auto session = Session(0);
  std::vector<uint32_t> blocks;
  for (uint64_t i = 0; i < 2000; ++i) {
    session->replies.clear();
    const std::vector<uint32_t> block =
        Publish(*session, static_cast<uint32_t>(i), {Key(10 + i)});
    blocks.insert(blocks.end(), block.begin(), block.end());
  }
  for (uint32_t block : blocks) session->Pin(block);
  session->replies.clear();
  ASSERT_THAT(session->Open(5000, 1), IsOk());
  session->now_ms = 100;
  uint32_t position = 0;
  do {  // what eviction had freed ahead
    ASSERT_LT(position, 200u);
    ASSERT_THAT(session->Begin(5000, position, {Key(9000 + position)}), IsOk());
    ++position;
  } while (session->Answers().back() == protocol::PublishAnswer::kYours);
  ASSERT_EQ(session->Answers().back(), protocol::PublishAnswer::kNoSpace);

  session->Unpin(blocks[1234]);
  session->now_ms = 150;
  ASSERT_THAT(session->Begin(5000, position, {Key(9900)}), IsOk());

  EXPECT_EQ(session->Answers().back(), protocol::PublishAnswer::kYours);
}

TEST_F(EvictionTest, OverheadStaysUnder128BytesABlock) {
  Make(100000);
  EXPECT_LE(core_->overhead_bytes_per_block(), 128u);
}

}  // namespace
}  // namespace kvferry::core
