#ifndef KVFERRY_DAEMON_CONTROL_CONTROL_LOOP_H_
#define KVFERRY_DAEMON_CONTROL_CONTROL_LOOP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "daemon/control/connection.h"
#include "daemon/control/listener.h"
#include "daemon/control/node.h"
#include "daemon/control/poller.h"
#include "daemon/control/service_manager.h"

namespace kvferry::control {

// The daemon's one event loop: rings, sockets, processes, time.
//
// A turn (DoWork) takes in what sessions submitted, then, often enough, what
// sockets, pidfds and doorbells have to say. After `spin_us` without work the
// loop sleeps in epoll: it says so in every namespace's index, looks at all
// rings once more, and is woken by a doorbell.
//
// Threads  owns none; Run and everything it owns is its caller's thread's
class ControlLoop {
 public:
  // Takes SIGTERM, SIGINT and SIGHUP, which the process has blocked.
  // Errors  as ErrnoStatus
  static absl::StatusOr<std::unique_ptr<ControlLoop>> Make(
      const config::Config& config, const NodeIdentity& identity,
      const memory::ReadOnlyView& view, memory::SegmentMakerProxy& maker,
      Listener listener);
  ~ControlLoop();

  // Until SIGTERM or SIGINT; what was submitted by then is answered.
  void Run();

  // One turn at `now_ns` (since the daemon started). Returns how much there
  // was to do.
  size_t DoWork(int64_t now_ns);
  bool stopping() const { return stopping_; }

  Node& node() { return *node_; }

 private:
  ControlLoop(const config::Config& config, Listener listener);
  absl::Status Init(const NodeIdentity& identity,
                    const memory::ReadOnlyView& view,
                    memory::SegmentMakerProxy& maker);

  int64_t Now() const;
  void Handle(const Poller::Event& event, uint64_t now_ms);
  void HandleSignal();
  void Accept(uint64_t now_ms);
  absl::Status Admit(UniqueFd socket, uint64_t now_ms);
  void HandleConnection(uint64_t id, uint32_t events, uint64_t now_ms);
  void TickWhenDue(uint64_t now_ms);
  // Lets go of connections that were closed in this turn.
  void Reap();
  void Sleep(int64_t now_ns);
  int SleepMs(uint64_t now_ms) const;
  void Drain();

  const config::Config& config_;
  int64_t started_ns_ = 0;  // of CLOCK_MONOTONIC
  // Before what registers with it.
  Poller poller_;
  Listener listener_;
  UniqueFd signals_;
  ServiceManager service_manager_;
  std::unique_ptr<Node> node_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Connection>> connections_;
  uint64_t last_connection_id_ = 0;
  // Whether a connection was closed since the last Reap.
  bool reap_ = false;
  // What the loop was woken by and has not handled yet; the poller's.
  std::span<const Poller::Event> woken_by_;
  int64_t last_events_ns_ = 0;
  uint64_t next_tick_ms_ = 0;
  uint64_t greeting_due_ = 0;  // connections without a first message
  bool stopping_ = false;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_CONTROL_LOOP_H_
