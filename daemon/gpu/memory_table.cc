#include "daemon/gpu/memory_table.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::gpu_worker {
namespace {

// Without an overflow, whatever the numbers are.
absl::Status CheckRange(const char* what, uint64_t id, uint64_t offset,
                        uint64_t bytes, uint64_t size) {
  if (bytes == 0 || bytes > size || offset > size - bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, " ", id, ": ", bytes, " bytes from ", offset, ", it has ", size));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<gpu::ExportedMemory> MemoryTable::MakePool(
    uint64_t pool_id, uint64_t bytes, gpu::ExportMode mode) {
  if (pools_.contains(pool_id)) {
    return absl::AlreadyExistsError(absl::StrCat("pool ", pool_id));
  }
  // CUDA IPC is not to be had there, and descriptors have been tried by nobody:
  // no pool is better than one whose importers fail.
  if (!device_.report().Has(gpu::kCapabilityWholeGpu)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "memory of a part of a GPU is not shared between processes (",
        device_.report().ReasonAgainst(gpu::kCapabilityWholeGpu),
        "): blocks stay in host memory"));
  }
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<gpu::DeviceMemory> memory,
                           device_.Allocate(bytes, mode));
  KVFERRY_ASSIGN_OR_RETURN(gpu::ExportedMemory exported, memory->Export());
  pools_[pool_id] = std::move(memory);
  return exported;
}

absl::StatusOr<MemoryTable::AddedSegment> MemoryTable::AddSegment(
    uint64_t segment_id, uint64_t bytes, UniqueFd fd) {
  if (segments_.contains(segment_id)) {
    return absl::AlreadyExistsError(absl::StrCat("segment ", segment_id));
  }
  Segment segment;
  KVFERRY_ASSIGN_OR_RETURN(
      segment.mapping,
      Mapping::Map(fd.get(), bytes, Mapping::Access::kReadWrite));
  AddedSegment added;
  absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> registration =
      device_.RegisterHost(segment.mapping.data(), bytes, /*read_only=*/false);
  if (registration.ok()) {
    added.registered = true;
    segment.registration = *std::move(registration);
  } else {
    added.note = absl::StrCat("not registered with the device: ",
                              registration.status().message());
  }
  segments_[segment_id] = std::move(segment);
  return added;
}

absl::StatusOr<gpu::Copy> MemoryTable::Resolve(
    const protocol::WorkerCommand& command) const {
  const auto pool = pools_.find(command.pool_id);
  if (pool == pools_.end()) {
    return absl::NotFoundError(absl::StrCat("no pool ", command.pool_id));
  }
  const auto segment = segments_.find(command.segment_id);
  if (segment == segments_.end()) {
    return absl::NotFoundError(absl::StrCat("no segment ", command.segment_id));
  }
  KVFERRY_RETURN_IF_ERROR(CheckRange("pool", command.pool_id,
                                     command.pool_offset, command.bytes,
                                     pool->second->bytes()));
  KVFERRY_RETURN_IF_ERROR(CheckRange("segment", command.segment_id,
                                     command.segment_offset, command.bytes,
                                     segment->second.mapping.size()));
  std::byte* const in_pool = pool->second->address() + command.pool_offset;
  std::byte* const in_segment =
      segment->second.address() + command.segment_offset;
  switch (command.type) {
    case protocol::WorkerCommandType::kCopyToHost:
      return gpu::Copy{in_segment, in_pool, command.bytes};
    case protocol::WorkerCommandType::kCopyToDevice:
      return gpu::Copy{in_pool, in_segment, command.bytes};
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a command of type ", static_cast<uint32_t>(command.type)));
}

}  // namespace kvferry::gpu_worker
