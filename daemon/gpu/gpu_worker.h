#ifndef KVFERRY_DAEMON_GPU_GPU_WORKER_H_
#define KVFERRY_DAEMON_GPU_GPU_WORKER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "daemon/gpu/copier.h"
#include "daemon/gpu/memory_table.h"
#include "daemon/worker/worker_ring_end.h"
#include "gpu/device.h"
#include "protocol/worker_framing.h"

namespace kvferry::gpu_worker {

// The process kvferry-gpu: serves one device to kvferryd.
//
//  1. Run says Hello.
//  2. It makes pools, maps segments, copies blocks as it is told.
//  3. It returns when the daemon says Quit or its socket closes (Ok), when the
//     daemon breaks the protocol, or the device is broken.
//
// Threads  one
class GpuWorker {
 public:
  // The device outlives it.
  // Errors  as Copier::Make
  static absl::StatusOr<std::unique_ptr<GpuWorker>> Make(gpu::Device* device,
                                                         UniqueFd socket);

  absl::Status Run();

 private:
  GpuWorker(gpu::Device* device, UniqueFd socket)
      : device_(*device), socket_(std::move(socket)), memory_(device) {}

  template <typename Body>
  absl::Status Send(Body body, std::span<const int> fds = {});
  absl::Status SayHello();
  // What the daemon has sent by now.
  absl::Status TakeMessages();
  absl::Status Handle(const protocol::worker::MessageT& message,
                      std::vector<UniqueFd> fds);
  absl::Status MakePool(const protocol::worker::MakePoolT& make);
  absl::Status AddSegment(const protocol::worker::AddSegmentT& add,
                          std::vector<UniqueFd> fds);
  // Commands in, completions out. Returns how much there was to do.
  absl::StatusOr<size_t> DoCopies();
  void Begin(const protocol::WorkerCommand& command);
  // Until there may be something to do.
  absl::Status Sleep();

  gpu::Device& device_;
  UniqueFd socket_;
  MemoryTable memory_;
  // Before the memory that it uses.
  std::unique_ptr<Copier> copier_;
  std::optional<worker::WorkerRingEnd> rings_;
  std::vector<protocol::WorkerCompletion> completions_;
  bool quit_ = false;
};

// Tells the daemon why there is nothing to serve.
absl::Status SayUnusable(int socket, const absl::Status& why);

}  // namespace kvferry::gpu_worker

#endif  // KVFERRY_DAEMON_GPU_GPU_WORKER_H_
