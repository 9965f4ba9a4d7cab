#include "gpu/emulated/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/emulated/device_ranges.h"

namespace kvferry::gpu {
namespace {

// Pages asked about in one call: 256 MiB of them.
constexpr uint64_t kPagesAtOnce = 65536;

// Registering pins pages, and there must be some.
absl::Status CheckMapped(std::byte* address, uint64_t bytes) {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  auto at = reinterpret_cast<uintptr_t>(address) / page * page;
  const uintptr_t end = reinterpret_cast<uintptr_t>(address) + bytes;
  std::vector<unsigned char> resident(kPagesAtOnce);
  while (at < end) {
    const uint64_t some = std::min<uint64_t>(end - at, kPagesAtOnce * page);
    if (::mincore(reinterpret_cast<void*>(at), some, resident.data()) != 0) {
      if (errno != ENOMEM) return ErrnoStatus(errno, "gpu: mincore");
      return absl::InvalidArgumentError(absl::StrCat(
          "gpu: some of the ", bytes, " bytes at 0x",
          absl::Hex(reinterpret_cast<uintptr_t>(address)), " are not mapped"));
    }
    at += some;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmulatedHostMemory>>
EmulatedHostMemory::Register(std::byte* address, uint64_t bytes,
                             bool read_only) {
  if (address == nullptr || bytes == 0) {
    return absl::InvalidArgumentError(
        "gpu: no host memory to register (null, or 0 bytes)");
  }
  KVFERRY_RETURN_IF_ERROR(CheckMapped(address, bytes));
  using Kind = DeviceRanges::Kind;
  KVFERRY_RETURN_IF_ERROR(DeviceRanges::OfThisProcess().Add(
      address, {bytes, read_only ? Kind::kHostReadOnly : Kind::kHost, 0}));
  auto memory = std::unique_ptr<EmulatedHostMemory>(new EmulatedHostMemory);
  memory->device_address_ = address;
  return memory;
}

EmulatedHostMemory::~EmulatedHostMemory() {
  if (!fork_guard_.forked()) {
    DeviceRanges::OfThisProcess().Remove(device_address_);
  }
}

}  // namespace kvferry::gpu
