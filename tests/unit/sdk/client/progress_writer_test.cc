#include "sdk/progress_writer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <new>
#include <string>

namespace kvferry::sdk {
namespace {

using protocol::Progress;

class ProgressWriterTest : public testing::Test {
 protected:
  static constexpr uint32_t kRecord = 254;  // the last one

  protocol::ProgressHeader* file() {
    return reinterpret_cast<protocol::ProgressHeader*>(memory_->bytes);
  }
  protocol::ProgressRecord& record() {
    return reinterpret_cast<protocol::ProgressRecord*>(
        memory_->bytes + protocol::kProgressRecordsOffset)[kRecord];
  }
  Progress word() { return protocol::UnpackProgress(record().word.load()); }
  uint32_t changes() { return record().changes.load(); }
  std::string hand_over() {
    return {reinterpret_cast<const char*>(memory_->bytes) +
                protocol::kHandOverOffset +
                uint64_t{kRecord} * protocol::kHandOverBytesMax,
            record().hand_over_bytes.load()};
  }

  struct alignas(4096) Memory {
    std::byte bytes[protocol::kProgressFileBytes];
  };
  std::unique_ptr<Memory> memory_ = std::make_unique<Memory>();
  ProgressWriter writer_;
};

TEST_F(ProgressWriterTest, TellsPositionsAsTheyAreDone) {
  writer_.Open(file(), kRecord, 7);
  EXPECT_TRUE(writer_.open());
  EXPECT_EQ(word(), (Progress{7, 0, 0}));
  EXPECT_EQ(changes(), 1);

  writer_.Advance(128);
  EXPECT_EQ(word(), (Progress{7, 128, 0}));
  EXPECT_EQ(changes(), 2);

  // Nothing new: nobody is woken.
  writer_.Advance(128);
  writer_.Advance(100);
  EXPECT_EQ(word(), (Progress{7, 128, 0}));
  EXPECT_EQ(changes(), 2);
  EXPECT_EQ(record().given_up.load(), 0);
}

TEST_F(ProgressWriterTest, LayersCountUntilTheChunkIsDone) {
  writer_.Open(file(), kRecord, 7);
  writer_.Advance(16);
  writer_.Layers(32, 1);
  EXPECT_EQ(word(), (Progress{7, 16, 1}));
  EXPECT_EQ(record().chunk_end.load(), 32);
  writer_.Layers(32, 12);
  EXPECT_EQ(word(), (Progress{7, 16, 12}));
  const uint32_t before = changes();
  writer_.Layers(32, 11);  // said already
  EXPECT_EQ(word(), (Progress{7, 16, 12}));
  EXPECT_EQ(changes(), before);

  // A part of the chunk: the layers of the rest stay true.
  writer_.Advance(20);
  EXPECT_EQ(word(), (Progress{7, 20, 12}));
  EXPECT_EQ(record().chunk_end.load(), 32);
  writer_.Advance(32);
  EXPECT_EQ(word(), (Progress{7, 32, 0}));
  EXPECT_EQ(record().chunk_end.load(), 32);

  writer_.Layers(48, 1);
  EXPECT_EQ(word(), (Progress{7, 32, 1}));
  EXPECT_EQ(record().chunk_end.load(), 48);
}

TEST_F(ProgressWriterTest, LayersBeyondTheWordAreNotTold) {
  writer_.Open(file(), kRecord, 7);
  writer_.Layers(8, 4095);
  EXPECT_EQ(word(), (Progress{7, 0, 4095}));
  const uint32_t before = changes();
  writer_.Layers(8, 5000);
  EXPECT_EQ(word(), (Progress{7, 0, 4095}));
  EXPECT_EQ(changes(), before);
}

TEST_F(ProgressWriterTest, WhatCameBeforeTheOpenIsToldByIt) {
  writer_.Advance(16);
  writer_.Layers(32, 3);
  writer_.GiveUp();
  EXPECT_FALSE(writer_.open());
  EXPECT_EQ(record().word.load(), 0);

  writer_.Open(file(), kRecord, 9);

  EXPECT_EQ(word(), (Progress{9, 16, 3}));
  EXPECT_EQ(record().chunk_end.load(), 32);
  EXPECT_EQ(record().given_up.load(), 9);
  EXPECT_EQ(changes(), 1);
}

TEST_F(ProgressWriterTest, TheLastHandOverCounts) {
  writer_.Open(file(), kRecord, 7);
  const std::string longest(protocol::kHandOverBytesMax, 'x');
  writer_.SetHandOver(longest);
  EXPECT_EQ(hand_over(), longest);
  // Twice: a copy begun between the two is not taken for whole.
  EXPECT_EQ(changes(), 3);
  writer_.SetHandOver("token 17");
  EXPECT_EQ(hand_over(), "token 17");
  writer_.SetHandOver("");
  EXPECT_EQ(record().hand_over_bytes.load(), 0);
}

TEST_F(ProgressWriterTest, GivingUpKeepsWhatIsDone) {
  writer_.Open(file(), kRecord, 7);
  writer_.Advance(4);
  writer_.GiveUp();
  EXPECT_EQ(word(), (Progress{7, 4, 0}));
  EXPECT_EQ(record().given_up.load(), 7);
  const uint32_t before = changes();
  writer_.GiveUp();
  EXPECT_EQ(changes(), before);
}

TEST_F(ProgressWriterTest, ItMayGoOnAfterGivingUp) {
  writer_.Open(file(), kRecord, 7);
  writer_.GoOn();
  EXPECT_EQ(changes(), 1);
  writer_.GiveUp();
  writer_.GoOn();
  EXPECT_EQ(record().given_up.load(), 0);
  EXPECT_EQ(changes(), 3);
  writer_.GiveUp();
  EXPECT_EQ(record().given_up.load(), 7);
}

TEST_F(ProgressWriterTest, AClosedOneIsSilent) {
  writer_.Open(file(), kRecord, 7);
  writer_.Advance(4);
  const uint32_t before = changes();
  writer_.Close();
  writer_.Advance(5);
  writer_.Layers(8, 1);
  writer_.GiveUp();
  EXPECT_EQ(word(), (Progress{7, 4, 0}));
  EXPECT_EQ(record().given_up.load(), 0);
  EXPECT_EQ(changes(), before);
}

// Goal    Nothing of a record's last publication is taken for the next one's.
TEST_F(ProgressWriterTest, AReusedRecordBeginsAnew) {
  writer_.Open(file(), kRecord, 7);
  writer_.Advance(16);
  writer_.Layers(32, 5);
  writer_.SetHandOver("of the first");
  writer_.GiveUp();
  writer_.Close();
  const uint32_t before = changes();

  ProgressWriter next;
  next.Open(file(), kRecord, 8);

  EXPECT_EQ(word(), (Progress{8, 0, 0}));
  EXPECT_EQ(record().chunk_end.load(), 0);
  EXPECT_EQ(record().given_up.load(), 0);
  EXPECT_EQ(record().hand_over_bytes.load(), 0);
  EXPECT_EQ(changes(), before + 1);  // never back to what a waiter saw
}

}  // namespace
}  // namespace kvferry::sdk
