#ifndef KVFERRY_DAEMON_GPU_COPIER_H_
#define KVFERRY_DAEMON_GPU_COPIER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device.h"
#include "protocol/worker_ring.h"

namespace kvferry::gpu_worker {

// Copies blocks between a device's memory and the host's: each way on a stream
// of its own, in batches of a bounded size, a few of them queued at a time, so
// that the device is busy and yet nothing waits long behind others.
//
// A copy is done once its batch's event is, when the device has written the
// bytes where every processor, and every other process, sees them.
//
// Threads  one at a time
class Copier {
 public:
  static constexpr size_t kCopiesPerBatchMax = 64;
  static constexpr uint64_t kBytesPerBatchMax = uint64_t{64} << 20;
  static constexpr size_t kBatchesUnderWayMax = 4;

  // The device outlives it.
  // Errors  as Device::CreateStream
  static absl::StatusOr<std::unique_ptr<Copier>> Make(gpu::Device* device);
  // Waits for what is under way.
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // Takes a copy in; DoWork starts it. Both its memories stay until it is done.
  void Add(uint64_t id, protocol::WorkerCommandType direction,
           const gpu::Copy& copy);

  // Starts what may start, and appends what is done to `completions`, failed or
  // not. Returns how many batches it started or ended.
  size_t DoWork(std::vector<protocol::WorkerCompletion>* completions);

  // Whether copies are taken in and not done.
  bool busy() const;
  // Not Ok once the device is broken: nothing will work in this process again.
  const absl::Status& device_status() const { return device_status_; }

 private:
  struct Order {
    uint64_t id = 0;
    gpu::Copy copy;
  };
  struct Batch {
    std::vector<uint64_t> ids;
    std::unique_ptr<gpu::Event> event;
  };
  // One direction.
  struct Lane {
    std::unique_ptr<gpu::Stream> stream;
    std::deque<Order> waiting;
    std::deque<Batch> under_way;  // in the stream's order
  };

  explicit Copier(gpu::Device* device) : device_(*device) {}
  bool StartBatch(Lane& lane,
                  std::vector<protocol::WorkerCompletion>* completions);
  absl::Status Launch(Lane& lane, const std::vector<gpu::Copy>& copies,
                      Batch* batch);
  bool EndBatch(Lane& lane,
                std::vector<protocol::WorkerCompletion>* completions);
  // Its copies are done, or failed.
  void Complete(Batch batch, const absl::Status& status,
                std::vector<protocol::WorkerCompletion>* completions);

  gpu::Device& device_;
  std::array<Lane, 2> lanes_;
  std::vector<std::unique_ptr<gpu::Event>> spare_events_;
  absl::Status device_status_;
};

}  // namespace kvferry::gpu_worker

#endif  // KVFERRY_DAEMON_GPU_COPIER_H_
