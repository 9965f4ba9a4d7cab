#include "gpu/emulated/device_ranges.h"

#include "absl/strings/str_cat.h"

namespace kvferry::gpu {
namespace {

uintptr_t Number(const std::byte* address) {
  return reinterpret_cast<uintptr_t>(address);
}

absl::Status Unreachable(uintptr_t address, const absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("gpu: address 0x", absl::Hex(address), " ", why));
}

}  // namespace

DeviceRanges& DeviceRanges::OfThisProcess() {
  // Never destroyed: memory may outlive main.
  static auto* const ranges = new DeviceRanges;
  return *ranges;
}

DeviceRanges::Ranges::const_iterator DeviceRanges::FindLocked(
    uintptr_t address) const {
  auto after = ranges_.upper_bound(address);
  if (after == ranges_.begin()) return ranges_.end();
  const auto at = --after;
  return address - at->first < at->second.bytes ? at : ranges_.end();
}

absl::Status DeviceRanges::Add(const std::byte* address, const Range& range) {
  MutexLock lock(&mutex_);
  const uintptr_t first = Number(address);
  const auto next = ranges_.lower_bound(first);
  if (FindLocked(first) != ranges_.end() ||
      (next != ranges_.end() && next->first - first < range.bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: some of the ", range.bytes, " bytes at 0x",
                     absl::Hex(first), " are the device's already"));
  }
  ranges_.emplace(first, range);
  return absl::OkStatus();
}

void DeviceRanges::Remove(const std::byte* address) {
  MutexLock lock(&mutex_);
  ranges_.erase(Number(address));
}

absl::Status DeviceRanges::Check(const std::byte* address, uint64_t bytes,
                                 const Access& access) {
  MutexLock lock(&mutex_);
  uintptr_t at = Number(address);
  const uintptr_t end = at + bytes;
  while (at < end) {
    // Ranges side by side are as good as one.
    const auto found = FindLocked(at);
    if (found == ranges_.end()) {
      return Unreachable(at, "is neither device nor registered host memory");
    }
    const Range& range = found->second;
    if (access.write && range.kind == Kind::kHostReadOnly) {
      return Unreachable(at, "is registered for reading only");
    }
    if (range.kind == Kind::kMemory && range.device != access.device &&
        !access.peers) {
      return Unreachable(at,
                         absl::StrCat("is memory of emulated:", range.device,
                                      ", which is no peer's to reach"));
    }
    at = found->first + range.bytes;
  }
  return absl::OkStatus();
}

}  // namespace kvferry::gpu
