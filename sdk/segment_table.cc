#include "sdk/segment_table.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::sdk {

SegmentTable::SegmentTable(std::span<const protocol::GroupRecord> groups)
    : groups_(groups.size()) {
  uint32_t missing = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    Group& group = groups_[i];
    group.record = groups[i];
    if (group.record.blocks_per_segment != 0) {
      group.segment_count =
          (group.record.block_count + group.record.blocks_per_segment - 1) /
          group.record.blocks_per_segment;
    }
    group.bases =
        std::make_unique<std::atomic<std::byte*>[]>(group.segment_count);
    missing += group.segment_count;
  }
  missing_.store(missing, std::memory_order_relaxed);
}

absl::Status SegmentTable::AddMemory(uint32_t group, uint32_t first_block,
                                     uint32_t block_count, std::byte* base,
                                     bool writable) {
  if (group >= groups_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segment: group ", group, ", the namespace has ", groups_.size()));
  }
  Group& entry = groups_[group];
  const protocol::GroupRecord& record = entry.record;
  const uint32_t index = first_block - record.first_block;
  if (record.blocks_per_segment == 0 || index >= record.block_count ||
      index % record.blocks_per_segment != 0 ||
      block_count !=
          std::min(record.blocks_per_segment, record.block_count - index)) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment: blocks [", first_block, ", +", block_count,
                     ") are no segment of group ", group, " (blocks [",
                     record.first_block, ", +", record.block_count, "), ",
                     record.blocks_per_segment, " a segment)"));
  }
  std::atomic<std::byte*>& slot =
      entry.bases[index / record.blocks_per_segment];
  if (slot.load(std::memory_order_relaxed) != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("segment: block ", first_block, " is mapped already"));
  }
  if (!writable) writable_.store(false, std::memory_order_relaxed);
  slot.store(base, std::memory_order_release);
  entry.mapped.fetch_add(1, std::memory_order_release);
  missing_.fetch_sub(1, std::memory_order_release);
  {
    MutexLock lock(&added_mutex_);
    added_.push_back({base, block_count * record.stride_bytes, writable});
  }
  mapped_count_.fetch_add(1, std::memory_order_release);
  return absl::OkStatus();
}

std::vector<SegmentTable::Span> SegmentTable::Mapped() const {
  MutexLock lock(&added_mutex_);
  return added_;
}

absl::Status SegmentTable::Add(const protocol::wire::SegmentAddedT& added,
                               UniqueFd fd) {
  if (added.group >= groups_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment ", added.segment, ": group ", added.group,
                     ", the namespace has ", groups_.size()));
  }
  const uint64_t bytes_needed =
      uint64_t{added.block_count} * groups_[added.group].record.stride_bytes;
  if (added.bytes < bytes_needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "segment ", added.segment, ": ", added.bytes, " bytes, its ",
        added.block_count, " blocks need ", bytes_needed));
  }
  KVFERRY_ASSIGN_OR_RETURN(
      Mapping mapping,
      Mapping::Map(fd.get(), added.bytes,
                   added.writable ? Mapping::Access::kReadWrite
                                  : Mapping::Access::kReadOnly));
  const absl::Status status =
      AddMemory(added.group, added.first_block, added.block_count,
                mapping.data(), added.writable);
  if (absl::IsAlreadyExists(status)) return absl::OkStatus();
  KVFERRY_RETURN_IF_ERROR(status);
  mappings_.push_back(std::move(mapping));
  return absl::OkStatus();
}

}  // namespace kvferry::sdk
