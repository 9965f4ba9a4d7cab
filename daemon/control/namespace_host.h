#ifndef KVFERRY_DAEMON_CONTROL_NAMESPACE_HOST_H_
#define KVFERRY_DAEMON_CONTROL_NAMESPACE_HOST_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/control/client_session.h"
#include "daemon/core/catalog.h"
#include "daemon/core/namespace_core.h"
#include "daemon/memory/namespace_files.h"
#include "daemon/memory/read_only_view.h"
#include "daemon/memory/segment_maker.h"
#include "protocol/geometry.h"

namespace kvferry::control {

// A namespace with its memory: the files that its core writes, the segments
// that were made for it, the sessions in it.
//
// Threads  the control loop's
class NamespaceHost {
 public:
  // `segment_bytes_max` 0: chosen by the quota. `gpu_quotas`: what each device
  // gives; a namespace for which they make too many pools or blocks has none
  // (and the log says so).
  // Errors  kInvalidArgument    the quota holds no block
  //         kResourceExhausted  no memory for the index
  static absl::StatusOr<std::unique_ptr<NamespaceHost>> Make(
      const core::Catalog::Entry& entry, uint64_t epoch,
      uint64_t segment_bytes_max,
      const std::vector<protocol::GpuQuota>& gpu_quotas,
      const core::GpuPolicy& gpu_policy, const memory::ReadOnlyView& view);

  const core::Catalog::Entry& entry() const { return entry_; }
  const protocol::Geometry& geometry() const { return core_->geometry(); }
  core::NamespaceCore& core() { return *core_; }
  const core::NamespaceCore& core() const { return *core_; }
  const memory::NamespaceFiles& files() const { return files_; }

  // Orders as many of the segments still to be made as the queue takes.
  void OrderSegments(memory::SegmentMakerProxy* maker);
  // A populated segment: tells every session of it, then the core, in that
  // order, so that no block of it is met before it was announced. Stays where
  // it is.
  void AddSegment(std::unique_ptr<memory::Segment> segment);
  // Tells one session of the segments there are.
  void AnnounceSegments(const ClientSession& session) const;
  // How many memories the pool has had (GpuPoolRecord::incarnation).
  uint32_t GpuIncarnation(uint32_t pool) const;
  const std::vector<std::unique_ptr<memory::Segment>>& segments() const {
    return segments_;
  }
  uint64_t populated_bytes() const { return populated_bytes_; }
  uint32_t segment_count() const {
    return static_cast<uint32_t>(segments_.size());
  }

  std::vector<ClientSession*>& sessions() { return sessions_; }
  const std::vector<ClientSession*>& sessions() const { return sessions_; }

  // Asks clients to ring from here on (true), or not to.
  //
  // INV-DOORBELL-1  A submission made while the daemon sleeps is either seen
  //                 by its last look, or its client rings.
  //   Made by    the control loop: store, full fence, look at every ring.
  //   Relied on  by the client: store the tail, full fence, load the word.
  void SetAsleep(bool asleep);

 private:
  NamespaceHost(const core::Catalog::Entry& entry, memory::NamespaceFiles files)
      : entry_(entry), files_(std::move(files)) {}
  void Announce(const memory::Segment& segment,
                const ClientSession& session) const;

  const core::Catalog::Entry entry_;
  memory::NamespaceFiles files_;
  std::unique_ptr<core::NamespaceCore> core_;
  std::deque<protocol::SegmentPlan> plans_;
  std::vector<std::unique_ptr<memory::Segment>> segments_;
  uint64_t populated_bytes_ = 0;
  std::vector<ClientSession*> sessions_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_NAMESPACE_HOST_H_
