#include "daemon/control/poller.h"

#include <cerrno>

#include "base/status.h"

namespace kvferry::control {
namespace {

// A kind above 56 bits of id.
constexpr int kKindShift = 56;

epoll_event MakeEvent(Source source, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = static_cast<uint64_t>(source.kind) << kKindShift | source.id;
  return event;
}

}  // namespace

absl::StatusOr<Poller> Poller::Make() {
  Poller poller;
  poller.epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!poller.epoll_.valid()) return ErrnoStatus(errno, "epoll_create1");
  return poller;
}

absl::Status Poller::Add(int fd, Source source, uint32_t events) {
  epoll_event event = MakeEvent(source, events);
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus(errno, "epoll_ctl");
  }
  return absl::OkStatus();
}

void Poller::SetEvents(int fd, Source source, uint32_t events) {
  epoll_event event = MakeEvent(source, events);
  // Fails for descriptors that are not registered only.
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

void Poller::Remove(int fd) {
  (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

std::span<const Poller::Event> Poller::Wait(int timeout_ms) {
  std::array<epoll_event, std::tuple_size_v<decltype(events_)>> raw;
  const int count = ::epoll_wait(epoll_.get(), raw.data(),
                                 static_cast<int>(raw.size()), timeout_ms);
  // Interrupted counts as nothing: the caller comes again.
  if (count <= 0) return {};
  for (int i = 0; i < count; ++i) {
    const uint64_t word = raw[i].data.u64;
    events_[i] = {{static_cast<SourceKind>(word >> kKindShift),
                   word & ((uint64_t{1} << kKindShift) - 1)},
                  raw[i].events};
  }
  return {events_.data(), static_cast<size_t>(count)};
}

}  // namespace kvferry::control
