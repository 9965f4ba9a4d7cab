#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_GPU_PEER_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_GPU_PEER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device.h"

namespace kvferry::bench {

// What another process found with memory that it imported.
struct GpuPeerResult {
  double first_import_ns = 0;  // of its first import of all
  double import_ns = 0;        // median of later ones
  double import_copy_ns = 0;   // out of the import, median
  double own_copy_ns = 0;      // out of memory of its own, in turn with it
};

struct GpuPeerTask {
  std::string device;  // GpuTarget::name()
  uint32_t imports = 1;
  uint32_t rounds = 1;   // of copies
  uint32_t repeats = 1;  // of a copy in a round
  int cpu = -1;
};

// Starts this program once more, has it import `exported`, which has the bytes
// of RandomTile from its start, and do the task.
// Errors  kDataLoss  it read other bytes
//         kInternal  it did not end well; what it said is on standard error
absl::StatusOr<GpuPeerResult> RunGpuPeer(const GpuPeerTask& task,
                                         const gpu::ExportedMemory& exported);

// What a process that was started so runs; both descriptors are as RunGpuPeer
// made them.
inline constexpr char kGpuPeerFlag[] = "--gpu-peer";
absl::Status BeGpuPeer();

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_GPU_PEER_H_
