#ifndef KVFERRY_SDK_SEGMENT_TABLE_H_
#define KVFERRY_SDK_SEGMENT_TABLE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "base/mapping.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "protocol/control_generated.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// Where this process has the namespace's segments mapped. Segments come one
// by one, as the daemon populates them, and stay until the table goes.
//
// Threads  Address and the queries: any. Add: one at a time.
class SegmentTable {
 public:
  explicit SegmentTable(std::span<const protocol::GroupRecord> groups);
  SegmentTable(const SegmentTable&) = delete;
  SegmentTable& operator=(const SegmentTable&) = delete;

  // Maps an announced segment; one that is there already is left alone.
  // Errors  kInvalidArgument  it does not fit the geometry: what, and the
  //                           numbers
  //         as Mapping::Map
  absl::Status Add(const protocol::wire::SegmentAddedT& added, UniqueFd fd);

  // Enters memory that somebody else keeps.
  // REQUIRES  base stays valid as long as the table
  absl::Status AddMemory(uint32_t group, uint32_t first_block,
                         uint32_t block_count, std::byte* base, bool writable);

  uint32_t group_count() const { return static_cast<uint32_t>(groups_.size()); }
  const protocol::GroupRecord& group(uint32_t index) const {
    return groups_[index].record;
  }

  // Whether `block` is one of the group's, for a number out of shared memory.
  bool InGroup(uint32_t group, uint32_t block) const {
    const protocol::GroupRecord& record = groups_[group].record;
    return block - record.first_block < record.block_count;
  }

  // Whether every segment there will be is mapped: no need to ask for blocks.
  bool complete() const {
    return missing_.load(std::memory_order_acquire) == 0;
  }

  // The first byte of a block; nullptr when its segment is not mapped (yet).
  // REQUIRES  InGroup(group, block)
  std::byte* Address(uint32_t group, uint32_t block) const {
    const Group& entry = groups_[group];
    const uint32_t index = block - entry.record.first_block;
    const uint32_t segment = index / entry.record.blocks_per_segment;
    std::byte* base = entry.bases[segment].load(std::memory_order_acquire);
    if (base == nullptr) return nullptr;
    return base + uint64_t{index - segment * entry.record.blocks_per_segment} *
                      entry.record.stride_bytes;
  }
  bool IsMapped(uint32_t group, uint32_t block) const {
    return Address(group, block) != nullptr;
  }

  // Memory that is mapped now.
  struct Span {
    std::byte* base = nullptr;
    uint64_t bytes = 0;
    bool writable = false;
  };
  // In the order in which it was added. Cost  a mutex, a copy
  std::vector<Span> Mapped() const;
  // How many that are: it grows when there is more.
  uint32_t mapped_count() const {
    return mapped_count_.load(std::memory_order_acquire);
  }

  // Whether the group has one segment at least.
  bool HasAny(uint32_t group) const {
    return groups_[group].mapped.load(std::memory_order_acquire) != 0;
  }
  // Whether all segments so far are mapped writable.
  bool writable() const { return writable_.load(std::memory_order_relaxed); }

 private:
  struct Group {
    protocol::GroupRecord record;
    std::unique_ptr<std::atomic<std::byte*>[]> bases;  // by segment
    uint32_t segment_count = 0;
    std::atomic<uint32_t> mapped{0};
  };

  std::vector<Group> groups_;
  std::atomic<uint32_t> missing_{0};
  std::atomic<bool> writable_{true};
  std::vector<Mapping> mappings_;
  std::atomic<uint32_t> mapped_count_{0};
  mutable Mutex added_mutex_;
  std::vector<Span> added_ ABSL_GUARDED_BY(added_mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_SEGMENT_TABLE_H_
