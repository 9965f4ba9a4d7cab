#ifndef KVFERRY_DAEMON_CONTROL_NODE_H_
#define KVFERRY_DAEMON_CONTROL_NODE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/config/config.h"
#include "daemon/control/client_session.h"
#include "daemon/control/connection.h"
#include "daemon/control/gpu_devices.h"
#include "daemon/control/namespace_host.h"
#include "daemon/control/poller.h"
#include "daemon/core/catalog.h"
#include "daemon/core/ticket.h"
#include "daemon/memory/read_only_view.h"
#include "daemon/memory/segment_maker.h"

namespace kvferry::control {

// Who this daemon is; fixed at its start.
struct NodeIdentity {
  std::string version;
  uint64_t epoch = 0;
  std::array<std::byte, 16> node_id{};
  core::TicketSecret secret{};
};

// What the daemon counts beside its namespaces.
struct NodeCounters {
  uint64_t loop_iterations = 0;
  uint64_t loop_max_us = 0;
  uint64_t doorbells = 0;
  uint64_t sessions_refused = 0;
  uint64_t sessions_closed_for_cause = 0;
};

// What became of the wishes for huge and locked pages.
struct MemoryReport {
  uint32_t segments = 0;
  uint32_t huge_segments = 0;
  uint32_t locked_segments = 0;
  std::set<std::string> notes;
};

// The namespaces of the node and the sessions in them: everything that
// requests act upon, and the work that is due without one.
//
// Threads  the control loop's
class Node {
 public:
  // All references outlive it.
  Node(const config::Config& config, const NodeIdentity& identity,
       const memory::ReadOnlyView& view, memory::SegmentMakerProxy& maker,
       Poller& poller);
  ~Node();

  const config::Config& config() const { return config_; }
  const NodeIdentity& identity() const { return identity_; }
  const memory::ReadOnlyView& view() const { return view_; }
  core::Catalog& catalog() { return catalog_; }
  NodeCounters& counters() { return counters_; }
  MemoryReport& memory_report() { return memory_report_; }
  GpuDevices& gpus() { return gpus_; }
  const GpuDevices& gpus() const { return gpus_; }

  // --- namespaces ---

  // Makes the memory of a namespace that the catalog has just taken in; takes
  // it out again when there is none.
  absl::StatusOr<NamespaceHost*> MakeHost(uint64_t namespace_id,
                                          uint64_t now_ms);
  // Null when there is none.
  NamespaceHost* FindHost(uint64_t namespace_id);
  NamespaceHost* FindHost(absl::string_view name);
  const std::map<uint64_t, std::unique_ptr<NamespaceHost>>& hosts() const {
    return hosts_;
  }
  uint64_t populated_bytes() const;

  // --- sessions ---

  // Makes a session for the connection, which gives up its pidfd.
  // Errors  kResourceExhausted  too many sessions; no memory
  //         as ErrnoStatus
  absl::StatusOr<ClientSession*> AddSession(NamespaceHost* host,
                                            Connection* connection,
                                            absl::string_view client_name,
                                            bool may_publish, uint64_t now_ms);
  // Null when there is none.
  ClientSession* FindSession(uint64_t number);
  const std::map<uint16_t, std::unique_ptr<ClientSession>>& sessions() const {
    return sessions_;
  }
  // The session ends; `why` is logged.
  void RemoveSession(uint16_t number, absl::string_view why, uint64_t now_ms);
  // The client broke the protocol. Its connection, if any, is closed.
  void RevokeSession(ClientSession* session, absl::string_view why);
  // Its socket is gone.
  void SetAdrift(ClientSession* session);

  // --- work ---

  // Takes in what sessions submitted. Returns how many runs.
  size_t PumpRings(uint64_t now_ms);
  // Takes in everything that one session has submitted by now, for a request
  // that builds upon it.
  void PumpAll(ClientSession* session, uint64_t now_ms);
  // Sends what calls of the namespace's core have left for others: replies,
  // pokes, wakes for the readers of publications, and a warning for whoever
  // was given up. After every batch of such calls.
  // Cost  without anything to send, no system call
  void Deliver(NamespaceHost& host);
  // What the GPUs' workers have done, and what they are to do next. Returns
  // how many copies were done.
  size_t PumpGpus(uint64_t now_ms) { return gpus_.Pump(now_ms); }
  // Whether PumpRings would find work.
  bool RingsReady() const;
  // Takes over populated segments, orders more.
  size_t TakeSegments(uint64_t now_ms);
  // Everything that time brings; every 50 ms.
  void Tick(uint64_t now_ms);
  void SetAsleep(bool asleep);
  // How long the loop may sleep because of sessions that wait for room, and of
  // workers that are waited for.
  uint64_t SleepLimitMs(uint64_t now_ms) const;

 private:
  size_t PumpHost(NamespaceHost& host, uint64_t now_ms);
  // At most `runs_max` runs of one session, which is revoked if one of them
  // breaks the protocol. Returns how many.
  uint32_t PumpSession(ClientSession* session, uint64_t now_ms,
                       uint32_t runs_max);
  uint16_t FreeSessionNumber();

  const config::Config& config_;
  const NodeIdentity identity_;
  const memory::ReadOnlyView& view_;
  memory::SegmentMakerProxy& maker_;
  Poller& poller_;
  core::Catalog catalog_;
  NodeCounters counters_;
  MemoryReport memory_report_;
  std::map<uint64_t, std::unique_ptr<NamespaceHost>> hosts_;
  std::map<uint16_t, std::unique_ptr<ClientSession>> sessions_;
  uint16_t last_session_number_ = 0;
  // After what it calls.
  GpuDevices gpus_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_NODE_H_
