#include "sdk/gpu/staging_buffer.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "base/status.h"

namespace kvferry::sdk {

absl::StatusOr<std::unique_ptr<StagingBuffer>> StagingBuffer::Create(
    gpu::Device* device, uint64_t bytes) {
  std::unique_ptr<StagingBuffer> buffer(new StagingBuffer(bytes));
  void* const mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return ErrnoStatus(errno, "gpu: staging memory");
  buffer->mapped_ = mapped;
  // A child that had it copied on write would leave us other pages than those
  // that the device was told of.
  (void)::madvise(mapped, bytes, MADV_DONTFORK);
  absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> registration =
      device->RegisterHost(static_cast<std::byte*>(mapped), bytes,
                           /*read_only=*/false);
  if (registration.ok()) {
    buffer->registration_ = *std::move(registration);
    buffer->host_ = static_cast<std::byte*>(mapped);
    buffer->device_ = buffer->registration_->device_address();
    return buffer;
  }
  KVFERRY_ASSIGN_OR_RETURN(buffer->memory_, device->AllocatePrivate(bytes));
  buffer->device_ = buffer->memory_->address();
  return buffer;
}

StagingBuffer::~StagingBuffer() {
  registration_.reset();
  if (mapped_ != nullptr) ::munmap(mapped_, bytes_);
}

}  // namespace kvferry::sdk
