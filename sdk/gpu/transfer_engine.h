#ifndef KVFERRY_SDK_GPU_TRANSFER_ENGINE_H_
#define KVFERRY_SDK_GPU_TRANSFER_ENGINE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "kvferry/gpu.h"
#include "sdk/gpu/copy_way.h"
#include "sdk/gpu/event_pool.h"
#include "sdk/gpu/gpu_operation.h"
#include "sdk/gpu/layout_cache.h"
#include "sdk/gpu/page_finder.h"
#include "sdk/gpu/reaper.h"
#include "sdk/gpu/side_streams.h"
#include "sdk/gpu/stager.h"

namespace kvferry::sdk {

// Pages of one group that go one way, by how the device gets at them.
struct PageLists {
  std::shared_ptr<const gpu::PreparedLayout> layout;
  // By BlockHome - 1.
  std::array<std::vector<gpu::PageTransfer>, kDirectHomes> direct;
  std::vector<StagedPage> staged;

  // Adds slices [slice_first, slice_end) of a block, one page after the other.
  // REQUIRES  place.home is not kNowhere
  void Add(const BlockPlace& place, uint64_t engine_block, uint32_t slice_first,
           uint32_t slice_end, uint64_t page_bytes, uint32_t valid_tokens);
  size_t size() const;
};

// The device's half of all transfers: streams, events, staging, and the thread
// that reaps. Knows pages and layers, nothing of blocks, pins or commits.
//
// Life cycle  1. Create   2. Begin, Lend, Start ... for each transfer; Ended
//             3. destroy: waits until every transfer has ended
// Threads     any number
class TransferEngine {
 public:
  // Errors  kInvalidArgument  options out of range; as the device says
  static absl::StatusOr<std::unique_ptr<TransferEngine>> Create(
      std::shared_ptr<gpu::Device> device, const GpuOptions& options);
  ~TransferEngine();
  TransferEngine(const TransferEngine&) = delete;
  TransferEngine& operator=(const TransferEngine&) = delete;

  gpu::Device* device() const { return device_.get(); }
  LayoutCache* layouts() { return &layouts_; }
  EventPool* events() { return &events_; }

  // Counts a transfer that is to begin. Each is followed by one Ended().
  // Errors  kResourceExhausted   too many under way
  //         kFailedPrecondition  closed, or `stream` is being captured
  absl::Status Begin(void* stream);
  // The last thing that a transfer does here.
  void Ended();
  // Refuses further transfers, and waits until all have ended.
  void Drain();

  // What one transfer gives the device: everything it needs is there before
  // anything is queued.
  struct Plan {
    std::vector<PageLists> lists;  // one a group
    CopyWay way = CopyWay::kIn;
    gpu::LayerRange layers;       // of each list; count 0: to the last
    uint32_t layers_a_piece = 0;  // 0: one piece
    EventPool::Loan after;        // the engine's point; null: Follow's is kept
    const gpu::Event* after_event = nullptr;
    std::vector<EventPool::Loan> events;  // one a launch
  };
  // Takes the events that `plan` will need, and records `after` in the engine's
  // stream. Nothing is queued yet.
  // Errors  kResourceExhausted; as the device says
  absl::Status Prepare(Plan* plan, void* stream);
  // Queues everything. What goes wrong from here on is the transfer's status.
  // Each launch is a part of `operation`, on streams that wait for the engine's
  // point. Calls SetLaunched as pieces are with the device if `tells_layers`.
  void Start(Plan plan, const std::shared_ptr<GpuOperation>& operation,
             bool tells_layers);

 private:
  explicit TransferEngine(std::shared_ptr<gpu::Device> device);

  // Calls `visit(list, layers, piece_end)` for each piece of each list, in the
  // order of pieces.
  template <typename Visit>
  static void ForEachPiece(const Plan& plan, const Visit& visit);
  void Launch(const std::shared_ptr<GpuOperation>& operation, CopyWay way,
              const gpu::PreparedLayout& layout, gpu::LayerRange layers,
              std::span<const gpu::PageTransfer> pages, void* stream,
              EventPool::Loan event);

  static constexpr uint32_t kTransfersMax = 4096;
  static constexpr uint32_t kEventsMax = 65536;

  const std::shared_ptr<gpu::Device> device_;
  EventPool events_;
  LayoutCache layouts_;
  std::unique_ptr<SideStreams> streams_;
  Reaper reaper_;
  std::unique_ptr<Stager> stager_;

  Mutex mutex_;
  CondVar changed_;
  uint32_t under_way_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_TRANSFER_ENGINE_H_
