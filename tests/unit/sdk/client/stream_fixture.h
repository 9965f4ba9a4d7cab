#ifndef KVFERRY_TESTS_UNIT_SDK_CLIENT_STREAM_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_SDK_CLIENT_STREAM_FIXTURE_H_

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "base/check.h"
#include "sdk/futex.h"
#include "sdk/stream_state.h"
#include "tests/support/fake_namespace.h"

namespace kvferry::sdk {

// A namespace of two groups (the second with two slices) whose daemon and
// publishers are the test: publication records, progress files of other
// sessions, pending blocks with aux words.
class StreamFixture : public testing::Test {
 protected:
  static constexpr uint32_t kBlockTokens = 16;
  static constexpr uint32_t kLayers = 4;
  static constexpr uint64_t kPageBytes = 256;
  static constexpr uint32_t kBlocks = 256;

  explicit StreamFixture(
      const std::vector<test::FakeNamespace::PoolOptions>& pools = {},
      const Attachment::Options& options = {})
      : fake_({{.block_tokens = kBlockTokens,
                .block_count = kBlocks,
                .blocks_per_segment = kBlocks,
                .page_bytes = kPageBytes},
               {.block_tokens = kBlockTokens,
                .block_count = kBlocks,
                .blocks_per_segment = kBlocks,
                .slice_count = 2,
                .page_bytes = kPageBytes}},
              /*map_segments=*/false, pools) {
    header()->groups[0].layer_count = kLayers;
    header()->groups[1].layer_count = kLayers;
    for (uint32_t slot = 0; slot < protocol::kPublicationSlots; ++slot) {
      for (auto& writer : record(slot).writers) {
        writer.store(protocol::kNoWriter);
      }
    }
    attachment_ = std::make_shared<Attachment>(fake_.memory(), options);
    for (uint32_t g = 0; g < 2; ++g) {
      const protocol::GroupRecord& group = header()->groups[g];
      KVFERRY_CHECK(attachment_->segments()
                        .AddMemory(g, group.first_block, group.block_count,
                                   fake_.Page(g, group.first_block), true)
                        .ok());
      next_block_[g] = group.first_block;
    }
  }

  static std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
    std::vector<BlockKey> keys;
    for (uint64_t n = first; n < first + count; ++n) {
      keys.push_back(test::NumberedKey(n));
    }
    return keys;
  }

  // --- the daemon ---

  protocol::IndexHeader* header() {
    return const_cast<protocol::IndexHeader*>(fake_.memory().index);
  }
  protocol::PublicationRecord& record(uint32_t slot) {
    return reinterpret_cast<protocol::PublicationRecord*>(
        reinterpret_cast<std::byte*>(header()) +
        protocol::PublicationsOffset(header()->bucket_count))[slot];
  }
  void Changed(uint32_t slot) {
    record(slot).changes.fetch_add(1);
    FutexWakeAll(&record(slot).changes);
  }
  void Open(uint32_t slot, uint32_t generation) {
    record(slot).generation.store(generation);
    record(slot).phase.store(
        static_cast<uint32_t>(protocol::PublicationPhase::kOpen));
    Changed(slot);
  }
  void End(uint32_t slot) {
    record(slot).phase.store(
        static_cast<uint32_t>(protocol::PublicationPhase::kEnded));
    for (auto& writer : record(slot).writers) writer.store(protocol::kNoWriter);
    Changed(slot);
  }
  void SetWriter(uint32_t slot, uint32_t slice, uint8_t file, uint8_t number) {
    record(slot).writers[slice].store(
        protocol::PackWriterRef({.file = file, .record = number}));
    Changed(slot);
  }
  void RemoveWriter(uint32_t slot, uint32_t slice) {
    record(slot).writers[slice].store(protocol::kNoWriter);
    Changed(slot);
  }

  // Enters a key as pending under `ref`; returns its block.
  uint32_t PutPending(uint64_t number, protocol::PublicationRef ref,
                      uint32_t group = 0) {
    return PutInBlock(number, ref, next_block_[group]++);
  }
  uint32_t PutInBlock(uint64_t number, protocol::PublicationRef ref,
                      uint32_t block) {
    const BlockKey key = test::NumberedKey(number);
    const auto pair =
        protocol::BucketsOf(key.lo, key.hi, header()->bucket_count);
    for (uint32_t index : {pair.first, pair.second}) {
      protocol::Bucket& there = bucket(index);
      for (uint32_t i = 0; i < protocol::kSlotsPerBucket; ++i) {
        if (there.host[i].load() != 0 || there.gpu[i].load() != 0) continue;
        there.key_lo[i].store(key.lo);
        there.key_hi[i].store(key.hi);
        there.aux[i].store(protocol::PackPublicationRef(ref));
        there.host[i].store(protocol::PackResidence(
            {protocol::ResidenceState::kPending, block, ++generation_}));
        return block;
      }
    }
    KVFERRY_CHECK(false);
    return 0;
  }
  uint32_t PutReady(uint64_t number, uint32_t group = 0) {
    const uint32_t block = PutPending(number, {}, group);
    MakeReady(number);
    return block;
  }
  void MakeReady(uint64_t number) {
    KVFERRY_CHECK(fake_.SetState(test::NumberedKey(number),
                                 protocol::ResidenceState::kReady));
  }
  void Erase(uint64_t number) { fake_.Erase(test::NumberedKey(number)); }
  protocol::Bucket& bucket(uint32_t index) {
    return reinterpret_cast<protocol::Bucket*>(
        reinterpret_cast<std::byte*>(header()) + protocol::kHeaderBytes)[index];
  }

  // --- publishers ---

  // The progress file of another session, mapped under its number.
  protocol::ProgressHeader* File(uint8_t number) {
    auto& file = files_[number];
    if (file == nullptr) {
      constexpr std::align_val_t kPage{4096};
      auto* bytes = static_cast<std::byte*>(
          ::operator new(protocol::kProgressFileBytes, kPage));
      std::memset(bytes, 0, protocol::kProgressFileBytes);
      file = Memory(bytes, [](std::byte* data) {
        ::operator delete (data, std::align_val_t{4096});
      });
      attachment_->progress_files().Enter(
          number, reinterpret_cast<protocol::ProgressHeader*>(file.get()));
    }
    return reinterpret_cast<protocol::ProgressHeader*>(file.get());
  }
  protocol::ProgressRecord& progress(uint8_t file, uint32_t number) {
    return reinterpret_cast<protocol::ProgressRecord*>(
        reinterpret_cast<std::byte*>(File(file)) +
        protocol::kProgressRecordsOffset)[number];
  }
  void Wake(protocol::ProgressRecord& record) {
    record.changes.fetch_add(1);
    FutexWakeAll(&record.changes);
  }
  void Pass(protocol::ProgressRecord& record, uint32_t generation,
            uint32_t positions) {
    record.word.store(
        protocol::PackProgress({generation, positions, /*layers=*/0}));
    Wake(record);
  }
  void PassLayers(protocol::ProgressRecord& record, uint32_t generation,
                  uint32_t positions, uint32_t chunk_end, uint32_t layers) {
    record.chunk_end.store(chunk_end);
    record.word.store(protocol::PackProgress({generation, positions, layers}));
    Wake(record);
  }
  void GiveUp(protocol::ProgressRecord& record, uint32_t generation) {
    record.given_up.store(generation);
    Wake(record);
  }
  void SetHandOver(uint8_t file, uint32_t number, const std::string& data) {
    std::memcpy(reinterpret_cast<char*>(File(file)) +
                    protocol::kHandOverOffset +
                    uint64_t{number} * protocol::kHandOverBytesMax,
                data.data(), data.size());
    progress(file, number)
        .hand_over_bytes.store(static_cast<uint32_t>(data.size()));
    Wake(progress(file, number));
  }

  // Publication `kSlot`, generation `kGeneration`, written by record 3 of file
  // 7, and its position `p` as an aux word.
  static constexpr uint32_t kSlot = 5;
  static constexpr uint32_t kGeneration = 77;
  protocol::PublicationRef At(uint32_t p) {
    return {.generation = kGeneration, .position = p, .slot = kSlot};
  }
  protocol::ProgressRecord& writer() { return progress(7, 3); }
  void OpenOne(uint32_t pending_keys) {
    Open(kSlot, kGeneration);
    SetWriter(kSlot, 0, 7, 3);
    Pass(writer(), kGeneration, 0);
    for (uint32_t p = 0; p < pending_keys; ++p) PutPending(p, At(p));
  }

  // --- the reader ---

  absl::Status Start(StreamState* stream, const std::vector<BlockKey>& keys,
                     const StreamOptions& options = {}) {
    return stream->Start(attachment_, watcher_, keys, options);
  }
  StreamOptions Hint() {
    StreamOptions options;
    options.publication = {.slot = kSlot, .generation = kGeneration};
    return options;
  }
  // Looks until nothing changes.
  void Settle(StreamState* stream) {
    for (int i = 0; i < 10 && stream->Poll(); ++i) {
    }
  }

  using Memory = std::unique_ptr<std::byte[], void (*)(std::byte*)>;
  struct NullMemory : Memory {
    NullMemory() : Memory(nullptr, [](std::byte*) {}) {}
    NullMemory& operator=(Memory&& memory) {
      Memory::operator=(std::move(memory));
      return *this;
    }
  };

  test::FakeNamespace fake_;
  std::map<uint8_t, NullMemory> files_;
  uint32_t next_block_[2] = {};
  uint32_t generation_ = 1000;
  std::shared_ptr<Attachment> attachment_;
  std::shared_ptr<StreamWatcher> watcher_ = std::make_shared<StreamWatcher>();
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_TESTS_UNIT_SDK_CLIENT_STREAM_FIXTURE_H_
