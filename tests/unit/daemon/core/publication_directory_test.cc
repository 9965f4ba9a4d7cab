#include "daemon/core/publication_directory.h"

#include <set>

#include "gmock/gmock.h"
#include "tests/sim/memory.h"

namespace kvferry::core {
namespace {

using protocol::kNoWriter;
using protocol::kPublicationSlots;
using protocol::PackWriterRef;
using protocol::PublicationPhase;
using protocol::PublicationRecord;
using protocol::PublicationRef;
using protocol::WriterRef;
using testing::ElementsAre;
using testing::IsEmpty;

class PublicationDirectoryTest : public testing::Test {
 protected:
  const PublicationRecord& record(uint32_t slot) const {
    return file_.At<PublicationRecord>(0)[slot];
  }
  PublicationPhase phase(uint32_t slot) const {
    return static_cast<PublicationPhase>(record(slot).phase.load());
  }

  sim::FakeFile file_{kPublicationSlots * sizeof(PublicationRecord)};
  PublicationDirectory directory_{file_.At<PublicationRecord>(0)};
};

TEST_F(PublicationDirectoryTest, NobodyWritesAndNothingIsOpenAtFirst) {
  for (uint32_t slot : {0u, kPublicationSlots - 1}) {
    EXPECT_EQ(phase(slot), PublicationPhase::kFree);
    EXPECT_EQ(record(slot).writers[0], kNoWriter);
    EXPECT_EQ(record(slot).writers[protocol::kSlicesMax - 1], kNoWriter);
  }
  EXPECT_EQ(directory_.open_count(), 0u);
  EXPECT_FALSE(directory_.IsOpen({}));
}

TEST_F(PublicationDirectoryTest, AnOpenedOneHasASlotUnderAGenerationOfItsOwn) {
  const PublicationRef first = directory_.Open(77);
  const PublicationRef second = directory_.Open(78);

  EXPECT_TRUE(first.followable());
  EXPECT_NE(first.generation, second.generation);
  EXPECT_NE(first.slot, second.slot);
  EXPECT_EQ(record(first.slot).generation, first.generation);
  EXPECT_EQ(record(first.slot).started_ms, 77u);
  EXPECT_EQ(phase(first.slot), PublicationPhase::kOpen);
  EXPECT_TRUE(directory_.IsOpen(first));
  EXPECT_EQ(directory_.open_count(), 2u);
}

TEST_F(PublicationDirectoryTest, OnlyTheGenerationThatIsOpenIsOpen) {
  const PublicationRef ref = directory_.Open(0);

  PublicationRef other = ref;
  ++other.generation;
  EXPECT_FALSE(directory_.IsOpen(other));
  other = ref;
  other.slot = kPublicationSlots;  // as a client may say
  EXPECT_FALSE(directory_.IsOpen(other));
  directory_.End(ref.slot);

  EXPECT_FALSE(directory_.IsOpen(ref));
  EXPECT_EQ(phase(ref.slot), PublicationPhase::kEnded);
  EXPECT_EQ(record(ref.slot).generation, ref.generation);
}

TEST_F(PublicationDirectoryTest, ASlotThatIsFreedIsTheLastToBeUsedAgain) {
  const PublicationRef first = directory_.Open(0);
  directory_.End(first.slot);

  for (uint32_t i = 1; i < kPublicationSlots; ++i) {
    EXPECT_NE(directory_.Open(0).slot, first.slot);
  }
  const PublicationRef again = directory_.Open(0);

  EXPECT_EQ(again.slot, first.slot);
  EXPECT_NE(again.generation, first.generation);
  EXPECT_FALSE(directory_.Open(0).followable());
  EXPECT_EQ(directory_.open_count(), kPublicationSlots);
}

TEST_F(PublicationDirectoryTest, ASliceKeepsItsFirstWriterUntilThatGoes) {
  const PublicationRef ref = directory_.Open(0);
  const WriterRef one{1, 10};
  const WriterRef two{2, 20};

  directory_.AddWriter(ref.slot, 0b011, one);
  directory_.AddWriter(ref.slot, 0b110, two);
  EXPECT_EQ(record(ref.slot).writers[0], PackWriterRef(one));
  EXPECT_EQ(record(ref.slot).writers[1], PackWriterRef(one));
  EXPECT_EQ(record(ref.slot).writers[2], PackWriterRef(two));
  directory_.RemoveWriter(ref.slot, one);

  EXPECT_EQ(record(ref.slot).writers[0], kNoWriter);
  EXPECT_EQ(record(ref.slot).writers[1], kNoWriter);
  EXPECT_EQ(record(ref.slot).writers[2], PackWriterRef(two));
}

TEST_F(PublicationDirectoryTest, SharersTakeAPlaceEachUntilThereIsNone) {
  const PublicationRef ref = directory_.Open(0);
  std::set<uint16_t> writers;
  for (uint32_t i = 0; i < protocol::kSlicesMax; ++i) {
    const WriterRef writer{static_cast<uint8_t>(i), 7};
    ASSERT_TRUE(directory_.AddSharer(ref.slot, writer));
    writers.insert(PackWriterRef(writer));
  }

  EXPECT_FALSE(directory_.AddSharer(ref.slot, {100, 7}));
  for (const auto& writer : record(ref.slot).writers) {
    EXPECT_EQ(writers.erase(writer), 1u);
  }
  directory_.RemoveWriter(ref.slot, {13, 7});
  EXPECT_TRUE(directory_.AddSharer(ref.slot, {100, 7}));
}

TEST_F(PublicationDirectoryTest, TheEndTakesTheWritersAway) {
  const PublicationRef ref = directory_.Open(0);
  directory_.AddWriter(ref.slot, 1, {1, 10});

  directory_.End(ref.slot);

  EXPECT_EQ(record(ref.slot).writers[0], kNoWriter);
}

TEST_F(PublicationDirectoryTest, EveryChangeBumpsAndEachSlotIsWokenOnce) {
  const PublicationRef one = directory_.Open(0);
  const PublicationRef two = directory_.Open(0);
  (void)directory_.TakeChanged();
  const uint32_t before = record(one.slot).changes;

  directory_.Changed(one.slot);
  directory_.Changed(one.slot);
  directory_.Changed(two.slot);

  EXPECT_EQ(record(one.slot).changes, before + 2);
  EXPECT_EQ(&directory_.changes(one.slot), &record(one.slot).changes);
  EXPECT_THAT(directory_.TakeChanged(), ElementsAre(one.slot, two.slot));
  EXPECT_THAT(directory_.TakeChanged(), IsEmpty());
  directory_.Changed(one.slot);
  EXPECT_THAT(directory_.TakeChanged(), ElementsAre(one.slot));
}

TEST_F(PublicationDirectoryTest, ComingGoingAndEndingAreChanges) {
  const PublicationRef ref = directory_.Open(0);
  (void)directory_.TakeChanged();

  directory_.AddWriter(ref.slot, 1, {1, 10});
  EXPECT_THAT(directory_.TakeChanged(), ElementsAre(ref.slot));
  directory_.RemoveWriter(ref.slot, {1, 10});
  EXPECT_THAT(directory_.TakeChanged(), ElementsAre(ref.slot));
  directory_.End(ref.slot);
  EXPECT_THAT(directory_.TakeChanged(), ElementsAre(ref.slot));
}

TEST_F(PublicationDirectoryTest, PositionsBegunStartAnewWithTheNextOne) {
  const PublicationRef first = directory_.Open(0);
  directory_.SetBegun(first.slot, 9);
  EXPECT_EQ(record(first.slot).begun, 9u);
  directory_.End(first.slot);

  for (uint32_t i = 1; i < kPublicationSlots; ++i) directory_.Open(0);
  ASSERT_EQ(directory_.Open(0).slot, first.slot);

  EXPECT_EQ(record(first.slot).begun, 0u);
}

}  // namespace
}  // namespace kvferry::core
