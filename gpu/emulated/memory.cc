#include "gpu/emulated/memory.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/emulated/device_ranges.h"

namespace kvferry::gpu {

absl::Status EmulatedMemory::Map(int fd, uint64_t bytes) {
  KVFERRY_ASSIGN_OR_RETURN(
      mapping_, Mapping::Map(fd, bytes, Mapping::Access::kReadWrite));
  KVFERRY_RETURN_IF_ERROR(DeviceRanges::OfThisProcess().Add(
      mapping_.data(),
      {bytes, DeviceRanges::Kind::kMemory, context_->number()}));
  address_ = mapping_.data();
  bytes_ = bytes;
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<EmulatedMemory>> EmulatedMemory::Make(
    std::shared_ptr<EmulatedContext> context, uint64_t bytes,
    uint64_t total_bytes, Sharing sharing, const std::string& directory) {
  if (bytes == 0) return absl::InvalidArgumentError("gpu: memory of 0 bytes");
  KVFERRY_RETURN_IF_ERROR(context->TakeMemory(bytes, total_bytes));
  auto memory =
      std::unique_ptr<EmulatedMemory>(new EmulatedMemory(std::move(context)));
  memory->taken_bytes_ = bytes;
  if (sharing == Sharing::kHandle) {
    KVFERRY_ASSIGN_OR_RETURN(
        memory->file_,
        MemoryFile::Create(directory, memory->context_->number(), bytes));
    KVFERRY_RETURN_IF_ERROR(memory->Map(memory->file_->fd(), bytes));
    return memory;
  }
  KVFERRY_ASSIGN_OR_RETURN(UniqueFd fd, MakeMemoryDescriptor(bytes));
  KVFERRY_RETURN_IF_ERROR(memory->Map(fd.get(), bytes));
  if (sharing == Sharing::kDescriptor) memory->fd_ = std::move(fd);
  return memory;
}

absl::StatusOr<std::unique_ptr<EmulatedMemory>> EmulatedMemory::Import(
    std::shared_ptr<EmulatedContext> context, const ExportedMemory& exported) {
  auto memory =
      std::unique_ptr<EmulatedMemory>(new EmulatedMemory(std::move(context)));
  switch (exported.kind) {
    case ExportedMemory::Kind::kDescriptor:
      KVFERRY_RETURN_IF_ERROR(CheckMemoryDescriptor(exported.fd.get()));
      KVFERRY_RETURN_IF_ERROR(memory->Map(exported.fd.get(), exported.bytes));
      return memory;
    case ExportedMemory::Kind::kHandle: {
      KVFERRY_ASSIGN_OR_RETURN(const UniqueFd fd,
                               MemoryFile::Open(exported.handle));
      KVFERRY_RETURN_IF_ERROR(memory->Map(fd.get(), exported.bytes));
      return memory;
    }
    case ExportedMemory::Kind::kNone:
      break;
  }
  return absl::InvalidArgumentError("gpu: memory that was not exported");
}

EmulatedMemory::~EmulatedMemory() {
  if (fork_guard_.forked()) {
    // The mapping is not there in a child, and the file is its parent's.
    if (file_) (void)new MemoryFile(*std::move(file_));
    (void)new Mapping(std::move(mapping_));
    return;
  }
  if (address_ != nullptr) DeviceRanges::OfThisProcess().Remove(address_);
  context_->GiveMemory(taken_bytes_);
}

absl::StatusOr<ExportedMemory> EmulatedMemory::Export() const {
  ExportedMemory exported;
  exported.bytes = bytes();
  exported.owner_pid = ::getpid();
  if (file_) {
    exported.kind = ExportedMemory::Kind::kHandle;
    exported.handle = file_->handle();
    return exported;
  }
  if (!fd_) {
    return absl::FailedPreconditionError(
        "gpu: the memory is another process's, or was made for this one alone");
  }
  exported.kind = ExportedMemory::Kind::kDescriptor;
  exported.fd.reset(::fcntl(fd_->get(), F_DUPFD_CLOEXEC, 0));
  if (!exported.fd.valid()) {
    return ErrnoStatus(errno, "gpu: duplicating a descriptor");
  }
  return exported;
}

}  // namespace kvferry::gpu
