#include "sdk/gpu/host_memory.h"

#include <algorithm>
#include <utility>

namespace kvferry::sdk {

void HostMemory::RegisterNew() {
  if (attachment_->segments().mapped_count() == taken_) return;
  const std::vector<SegmentTable::Span> mapped =
      attachment_->segments().Mapped();
  for (; taken_ < mapped.size(); ++taken_) {
    const SegmentTable::Span& span = mapped[taken_];
    Segment segment;
    segment.base = span.base;
    segment.bytes = span.bytes;
    absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> registration =
        device_->RegisterHost(span.base, span.bytes, !span.writable);
    MutexLock lock(&mutex_);
    if (registration.ok()) segment.registration = *std::move(registration);
    const auto after = std::upper_bound(segments_.begin(), segments_.end(),
                                        segment.base, StartsAfter);
    segments_.insert(after, std::move(segment));
  }
}

std::byte* HostMemory::DeviceAddress(const std::byte* host,
                                     uint64_t bytes) const {
  MutexLock lock(&mutex_);
  const auto after =
      std::upper_bound(segments_.begin(), segments_.end(), host, StartsAfter);
  if (after == segments_.begin()) return nullptr;
  const Segment& segment = *std::prev(after);
  const auto offset = static_cast<uint64_t>(host - segment.base);
  if (offset >= segment.bytes || bytes > segment.bytes - offset ||
      segment.registration == nullptr) {
    return nullptr;
  }
  return segment.registration->device_address() + offset;
}

}  // namespace kvferry::sdk
