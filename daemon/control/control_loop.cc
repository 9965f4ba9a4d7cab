#include "daemon/control/control_loop.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/control/requests.h"
#include "protocol/limits.h"

namespace kvferry::control {
namespace {

constexpr int64_t kNsPerMs = 1000 * 1000;
// Sockets wait this long while rings are busy: a look costs a system call.
constexpr int64_t kEventsEveryNs = 50 * 1000;
constexpr uint64_t kTickMs = 50;
constexpr uint64_t kIdleTickMs = 1000;
// Of one connection in one turn.
constexpr int kMessagesPerTurnMax = 16;
constexpr int kAcceptsPerTurnMax = 16;
constexpr int64_t kDrainNsMax = 1000 * kNsPerMs;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t MonotonicNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 * kNsPerMs + now.tv_nsec;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlLoop>> ControlLoop::Make(
    const config::Config& config, const NodeIdentity& identity,
    const memory::ReadOnlyView& view, memory::SegmentMakerProxy& maker,
    Listener listener) {
  auto loop = absl::WrapUnique(new ControlLoop(config, std::move(listener)));
  KVFERRY_RETURN_IF_ERROR(loop->Init(identity, view, maker));
  return loop;
}

ControlLoop::ControlLoop(const config::Config& config, Listener listener)
    : config_(config),
      started_ns_(MonotonicNs()),
      listener_(std::move(listener)) {}

ControlLoop::~ControlLoop() {
  for (const auto& [id, connection] : connections_) {
    if (ClientSession* session =
            connection->session() ? node_->FindSession(*connection->session())
                                  : nullptr;
        session != nullptr) {
      node_->SetAdrift(session);
    }
  }
}

absl::Status ControlLoop::Init(const NodeIdentity& identity,
                               const memory::ReadOnlyView& view,
                               memory::SegmentMakerProxy& maker) {
  KVFERRY_ASSIGN_OR_RETURN(poller_, Poller::Make());
  node_ = std::make_unique<Node>(config_, identity, view, maker, poller_);
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ::sigaddset(&set, signal);
  }
  signals_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_.valid()) return ErrnoStatus(errno, "signalfd");
  KVFERRY_RETURN_IF_ERROR(
      poller_.Add(signals_.get(), {SourceKind::kSignals, 0}));
  KVFERRY_RETURN_IF_ERROR(
      poller_.Add(listener_.fd(), {SourceKind::kListener, 0}));
  return poller_.Add(maker.results_fd(), {SourceKind::kSegments, 0});
}

int64_t ControlLoop::Now() const { return MonotonicNs() - started_ns_; }

void ControlLoop::Run() {
  service_manager_.Ready(absl::StrCat("serving on ", config_.socket));
  const bool never_sleeps = config_.spin_us == config::kSpinForever;
  const int64_t spin_ns = config_.spin_us * 1000;
  int64_t now = Now();
  int64_t last_work = now;
  while (!stopping_) {
    const size_t work = DoWork(now);
    const int64_t after = Now();
    NodeCounters& counters = node_->counters();
    ++counters.loop_iterations;
    counters.loop_max_us = std::max(counters.loop_max_us,
                                    static_cast<uint64_t>(after - now) / 1000);
    now = after;
    if (work > 0) {
      last_work = now;
    } else if (never_sleeps || now - last_work < spin_ns) {
      Pause();
    } else {
      Sleep(now);
      now = Now();
      last_work = now;
    }
  }
  Drain();
}

size_t ControlLoop::DoWork(int64_t now_ns) {
  const auto now_ms = static_cast<uint64_t>(now_ns / kNsPerMs);
  size_t work = node_->PumpRings(now_ms);
  if (woken_by_.empty() && now_ns - last_events_ns_ >= kEventsEveryNs) {
    woken_by_ = poller_.Wait(/*timeout_ms=*/0);
    last_events_ns_ = now_ns;
  }
  work += woken_by_.size();
  for (const Poller::Event& event : woken_by_) Handle(event, now_ms);
  woken_by_ = {};
  TickWhenDue(now_ms);
  Reap();
  return work + node_->PumpGpus(now_ms);
}

void ControlLoop::Sleep(int64_t now_ns) {
  const auto now_ms = static_cast<uint64_t>(now_ns / kNsPerMs);
  node_->SetAsleep(true);
  // Pairs with the fence between a client's tail and its look at the word.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!node_->RingsReady() && !node_->gpus().Ready()) {
    // Handled by the next turn.
    woken_by_ = poller_.Wait(SleepMs(now_ms));
    last_events_ns_ = Now();
  }
  node_->SetAsleep(false);
}

int ControlLoop::SleepMs(uint64_t now_ms) const {
  const bool busy = !node_->sessions().empty() || greeting_due_ > 0;
  const uint64_t until_tick =
      next_tick_ms_ > now_ms ? next_tick_ms_ - now_ms : 0;
  uint64_t limit = busy ? until_tick : kIdleTickMs;
  limit = std::min(
      {limit, node_->SleepLimitMs(now_ms), service_manager_.SleepLimitMs()});
  return static_cast<int>(std::max<uint64_t>(limit, 1));
}

void ControlLoop::TickWhenDue(uint64_t now_ms) {
  if (now_ms < next_tick_ms_) return;
  next_tick_ms_ = now_ms + kTickMs;
  node_->Tick(now_ms);
  service_manager_.Beat(now_ms);
  greeting_due_ = 0;
  for (const auto& [id, connection] : connections_) {
    if (connection->greeted()) continue;
    ++greeting_due_;
    if (now_ms - connection->accepted_ms() >= protocol::kHandshakeDeadlineMs) {
      connection->Close(Connection::End::kForCause,
                        absl::StrCat("no message within ",
                                     protocol::kHandshakeDeadlineMs, " ms"));
    }
  }
}

void ControlLoop::Handle(const Poller::Event& event, uint64_t now_ms) {
  switch (event.source.kind) {
    case SourceKind::kSignals:
      return HandleSignal();
    case SourceKind::kListener:
      return Accept(now_ms);
    case SourceKind::kSegments:
      node_->TakeSegments(now_ms);
      return;
    case SourceKind::kConnection:
      return HandleConnection(event.source.id, event.events, now_ms);
    case SourceKind::kProcess:
      return node_->RemoveSession(static_cast<uint16_t>(event.source.id),
                                  "its process is gone", now_ms);
    case SourceKind::kDoorbell:
      // That the loop is awake is all there is to it.
      ++node_->counters().doorbells;
      return;
    case SourceKind::kWorkerSocket:
      return node_->gpus().HandleSocket(event.source.id, now_ms);
    case SourceKind::kWorkerProcess:
      return node_->gpus().HandleExit(event.source.id, now_ms);
    case SourceKind::kWorkerDoorbell:
      // Likewise.
      return;
  }
}

void ControlLoop::HandleSignal() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGHUP) {
      spdlog::info("SIGHUP ignored: the configuration is read at the start");
      continue;
    }
    spdlog::info("stopping: signal {}", info.ssi_signo);
    stopping_ = true;
  }
}

void ControlLoop::Accept(uint64_t now_ms) {
  for (int i = 0; i < kAcceptsPerTurnMax; ++i) {
    absl::StatusOr<UniqueFd> socket = listener_.Accept();
    if (absl::IsNotFound(socket.status())) return;
    const absl::Status admitted =
        socket.ok() ? Admit(*std::move(socket), now_ms) : socket.status();
    if (!admitted.ok()) {
      ++node_->counters().sessions_refused;
      spdlog::warn("connection refused: {}", std::string(admitted.message()));
    }
  }
}

absl::Status ControlLoop::Admit(UniqueFd socket, uint64_t now_ms) {
  KVFERRY_ASSIGN_OR_RETURN(Peer peer, IdentifyPeer(socket.get()));
  if (connections_.size() >= protocol::kConnectionsMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat(peer.ToString(), ": there are ", connections_.size(),
                     " connections, the limit is ", protocol::kConnectionsMax));
  }
  const auto of_user = static_cast<uint32_t>(std::count_if(
      connections_.begin(), connections_.end(),
      [&](const auto& item) { return item.second->peer().uid == peer.uid; }));
  if (of_user >= protocol::kConnectionsPerUserMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        peer.ToString(), ": the user has ", of_user,
        " connections, the limit is ", protocol::kConnectionsPerUserMax));
  }
  const uint64_t id = ++last_connection_id_;
  KVFERRY_ASSIGN_OR_RETURN(
      connections_[id], Connection::Make(id, std::move(socket), std::move(peer),
                                         now_ms, &poller_, &reap_));
  ++greeting_due_;
  return absl::OkStatus();
}

void ControlLoop::HandleConnection(uint64_t id, uint32_t events,
                                   uint64_t now_ms) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = *found->second;
  if ((events & EPOLLOUT) != 0) connection.Flush();
  // A socket whose peer closed it with messages unread answers with that error
  // once, before what the peer had sent (a Detach, say).
  bool closed = false;
  for (int i = 0;
       i < kMessagesPerTurnMax && connection.end() == Connection::End::kOpen;
       ++i) {
    const absl::StatusOr<wire::MessageT> message = connection.Receive();
    if (absl::IsNotFound(message.status())) return;
    if (message.ok()) {
      closed = false;
      Dispatch({*node_, connection, message->id, now_ms}, *message);
    } else if (absl::IsUnavailable(message.status()) && !closed) {
      closed = true;
    } else if (absl::IsUnavailable(message.status())) {
      connection.Close(Connection::End::kOrderly, "its socket was closed");
    } else {
      connection.Close(Connection::End::kForCause, message.status().message());
    }
  }
}

void ControlLoop::Reap() {
  if (!std::exchange(reap_, false)) return;
  for (auto it = connections_.begin(); it != connections_.end();) {
    Connection& connection = *it->second;
    if (connection.end() == Connection::End::kOpen) {
      ++it;
      continue;
    }
    const bool for_cause = connection.end() == Connection::End::kForCause;
    ClientSession* session = connection.session()
                                 ? node_->FindSession(*connection.session())
                                 : nullptr;
    if (for_cause) {
      ++node_->counters().sessions_closed_for_cause;
      spdlog::warn("{} closed: {}",
                   session != nullptr ? session->ToString()
                                      : connection.peer().ToString(),
                   connection.end_reason());
    }
    if (session != nullptr) {
      if (for_cause) node_->RevokeSession(session, connection.end_reason());
      node_->SetAdrift(session);
    }
    connections_.erase(it++);
  }
}

void ControlLoop::Drain() {
  service_manager_.Stopping();
  poller_.Remove(listener_.fd());
  listener_.Close();
  // What was submitted before the signal is taken in and answered; who keeps
  // submitting does not keep the daemon.
  const int64_t deadline = Now() + kDrainNsMax;
  int64_t now = Now();
  while (node_->RingsReady() && now < deadline) {
    node_->PumpRings(static_cast<uint64_t>(now / kNsPerMs));
    now = Now();
  }
  for (const auto& [id, connection] : connections_) connection->Flush();
  spdlog::info("stopped, {} sessions left behind", node_->sessions().size());
}

}  // namespace kvferry::control
