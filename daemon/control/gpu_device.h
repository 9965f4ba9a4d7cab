#ifndef KVFERRY_DAEMON_CONTROL_GPU_DEVICE_H_
#define KVFERRY_DAEMON_CONTROL_GPU_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "daemon/config/config.h"
#include "daemon/control/namespace_host.h"
#include "daemon/control/poller.h"
#include "daemon/core/namespace_core.h"
#include "daemon/worker/link.h"
#include "daemon/worker/supervisor.h"
#include "protocol/control_generated.h"
#include "protocol/gpu_name.h"
#include "protocol/worker_generated.h"

namespace kvferry::control {

// One pool's memory, or why there is none.
struct GpuPoolMemory {
  NamespaceHost* host = nullptr;
  uint32_t pool = 0;  // as messages number it
  uint64_t bytes = 0;
  enum class State : uint8_t { kNone, kAsked, kMade } state = State::kNone;
  uint64_t id = 0;  // in the worker, once it was asked
  protocol::wire::GpuExport export_kind = protocol::wire::GpuExport::None;
  UniqueFd fd;
  std::vector<uint8_t> handle;
  std::string reason;  // of State::kNone
  uint64_t retry_at_ms = 0;
};

// What one device did, for operators.
struct GpuCounters {
  uint64_t bytes_to_host = 0;
  uint64_t bytes_to_device = 0;
  uint64_t copy_errors = 0;
};

// One GPU of the configuration: its worker process, which is started, watched
// and started again; the pools that the worker holds for the namespaces; the
// copies that it makes for their cores.
//
// With each worker it begins anew: Rings, then one request at a time (pools
// before segments), then copies. When the worker is gone, every pool of it is
// down first, and only then is anybody told and a new one started.
//
// What a worker says is checked. One that breaks the protocol is killed, with
// the reason in the log and in GetGpus; the namespaces' host memory serves on.
//
// Threads  the control loop's
class GpuDevice {
 public:
  // What it tells its owner.
  class Observer {
   public:
    virtual ~Observer() = default;
    // The pool's memory came or went; the core knows already.
    virtual void OnGpuPoolChanged(NamespaceHost& host, uint32_t pool) = 0;
    // The core of `host` was called: deliver what it left for others.
    virtual void OnGpuWork(NamespaceHost& host) = 0;
  };

  // `directory`: where the emulated device keeps files. References outlive it.
  GpuDevice(uint32_t number, const protocol::GpuName& name,
            const config::Config& config, std::string directory, Poller& poller,
            Observer& observer);
  ~GpuDevice();
  GpuDevice(const GpuDevice&) = delete;
  GpuDevice& operator=(const GpuDevice&) = delete;

  // --- namespaces ---

  // Takes in the pools on this device of a new namespace, and its segments.
  void AddHost(NamespaceHost* host, uint64_t now_ms);
  // A segment of it was populated.
  void AddSegment(const NamespaceHost& host, const memory::Segment& segment,
                  uint64_t now_ms);

  // --- work ---

  // Whatever is due by time.
  void Tick(uint64_t now_ms);
  void HandleSocket(uint64_t now_ms);
  void HandleExit(uint64_t now_ms);
  // Takes in completions. Returns how many there were.
  size_t TakeCompletions(uint64_t now_ms);
  // Hands the cores' orders to the worker, as far as there is room.
  void GiveOrders(uint64_t now_ms);
  bool Ready() const;
  void SetAsleep(bool asleep);
  uint64_t NextDueMs() const;
  // Asks the worker to end, which the destructor waits for.
  void Stop();

  // --- looking inside ---

  uint32_t number() const { return number_; }
  const protocol::GpuName& name() const { return name_; }
  // Null while no worker serves.
  const protocol::worker::HelloT* hello() const { return hello_.get(); }
  const worker::Supervisor& supervisor() const { return supervisor_; }
  // 0: none.
  uint32_t worker_pid() const;
  const std::vector<GpuPoolMemory>& pools() const { return pools_; }
  const GpuCounters& counters() const { return counters_; }
  // Copies ordered and not done.
  size_t copies_waiting() const;
  // Why a pool without memory has none.
  std::string ReasonAgainst(const GpuPoolMemory& memory) const;
  // What there is worth knowing of the segments; empty: nothing.
  const std::string& segment_note() const { return segment_note_; }

 private:
  struct SegmentUse {
    const NamespaceHost* host = nullptr;
    const memory::Segment* segment = nullptr;
    uint64_t id = 0;  // in the worker
    enum class State : uint8_t {
      kNew,
      kAsked,
      kKnown,
      kRefused
    } state = State::kNew;
  };
  struct Request {
    bool of_pool = false;
    size_t index = 0;  // in pools_ or segments_
    uint64_t since_ms = 0;
  };
  struct CopyUnderWay {
    NamespaceHost* host = nullptr;
    core::CopyOrder order;
    uint64_t bytes = 0;
    uint64_t since_ms = 0;
  };
  // An order whose segment the worker does not know yet.
  struct HeldOrder {
    NamespaceHost* host = nullptr;
    core::CopyOrder order;
  };

  void Spawn(uint64_t now_ms);
  absl::Status Register();
  void Unregister();
  // To its socket; its rings and its exit are still looked at.
  void StopListening();
  void GiveUp(absl::string_view why, uint64_t now_ms);
  // The worker is gone.
  void Lose(absl::string_view how, uint64_t now_ms);
  // Tells of every pool: of each there is none, for another reason.
  void TellAll();
  void LogNews(uint64_t now_ms);
  std::optional<uint64_t> UnansweredSinceMs() const;

  absl::Status Handle(const protocol::worker::MessageT& message,
                      std::vector<UniqueFd> fds, uint64_t now_ms);
  absl::Status HandleHello(const protocol::worker::HelloT& hello,
                           uint64_t now_ms);
  absl::Status HandlePoolMade(const protocol::worker::PoolMadeT& made,
                              std::vector<UniqueFd> fds, uint64_t now_ms);
  absl::Status HandleSegmentAdded(const protocol::worker::SegmentAddedT& added,
                                  uint64_t now_ms);
  // Sends the next request, if none is unanswered.
  void AskNext(uint64_t now_ms);
  absl::Status AskForPool(size_t index, uint64_t now_ms);
  absl::Status AskForSegment(size_t index, uint64_t now_ms);

  const SegmentUse* FindSegment(const NamespaceHost& host,
                                uint32_t block) const;
  GpuPoolMemory* FindPool(const NamespaceHost& host, uint32_t pool);
  bool HasRoom() const;
  // False: it is to be held until its segment is known.
  bool GiveOrder(NamespaceHost* host, const core::CopyOrder& order,
                 uint64_t now_ms);
  absl::Status Complete(const protocol::WorkerCompletion& completion,
                        uint64_t now_ms);

  const uint32_t number_;
  const protocol::GpuName name_;
  const config::Config& config_;
  const std::string directory_;
  Poller& poller_;
  Observer& observer_;

  worker::Supervisor supervisor_;
  std::unique_ptr<worker::Link> link_;
  bool socket_registered_ = false;
  std::unique_ptr<protocol::worker::HelloT> hello_;
  GpuCounters counters_;
  std::string segment_note_;

  std::vector<NamespaceHost*> hosts_;
  std::vector<GpuPoolMemory> pools_;
  std::vector<SegmentUse> segments_;
  std::optional<Request> request_;
  uint64_t last_id_ = 0;  // of pools, segments and copies

  std::map<uint64_t, CopyUnderWay> copies_;  // by their ids, oldest first
  uint64_t bytes_under_way_ = 0;
  std::deque<HeldOrder> held_;
  size_t next_host_ = 0;  // whose orders come first
  bool error_logged_ = false;
  // It broke the protocol: nothing that it has to say is looked at any more.
  bool distrusted_ = false;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_GPU_DEVICE_H_
