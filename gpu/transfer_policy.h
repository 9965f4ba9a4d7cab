#ifndef KVFERRY_GPU_TRANSFER_POLICY_H_
#define KVFERRY_GPU_TRANSFER_POLICY_H_

#include <cstdint>

namespace kvferry::gpu {

// How strided copies between an engine's blocks and pages are done.
enum class TransferMethod : uint8_t {
  // One kernel moves all runs, whatever their size.
  kKernel = 0,
  // Each run is a copy of its own, handed over in batches: the copy engines
  // work, the multiprocessors stay the model's.
  kBatchedCopies = 1,
  // A kernel makes whole pages in device memory (or takes them from there), and
  // the copy engines carry those.
  kStaged = 2,
};

// Where pages are, as the device sees it.
enum class PageSide : uint8_t {
  kDevice = 0,  // its own memory, or a peer's
  kHost = 1,    // registered host memory
  kHostUnregistered = 2,
};

// One launch's worth.
struct TransferWork {
  uint64_t run_bytes = 0;
  uint64_t runs = 0;  // of all pieces and bases
  PageSide side = PageSide::kDevice;
  bool has_batched_copies = false;  // kCapabilityBatchCopy

  uint64_t bytes() const { return run_bytes * runs; }
};

// Where one method gives way to the next. Not measured on a GPU yet: chosen so
// that the kernel, which is right for every shape, does what is in doubt. Until
// they are, gpu/cuda takes the kernel for everything, and `kvferry-bench gpu`
// compares the methods with what this table says.
struct TransferThresholds {
  // Shortest run that is worth a copy of its own within device memory, where a
  // kernel reaches the memory's own rate; and to or from the host, where the
  // link is the bound and either way reaches it.
  uint64_t device_copy_run_bytes_min = uint64_t{4} << 20;
  uint64_t host_copy_run_bytes_min = uint64_t{64} << 10;
  // More copies than these in one call cost more to hand over than they save.
  uint64_t copies_max = 4096;
  // From here on bytes for the host go by way of whole pages in device memory:
  // a kernel that writes to the host holds multiprocessors for as long as the
  // link takes.
  uint64_t host_staged_bytes_min = uint64_t{8} << 20;
};
inline constexpr TransferThresholds kTransferThresholds;

TransferMethod ChooseTransferMethod(
    const TransferWork& work,
    const TransferThresholds& thresholds = kTransferThresholds);

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_TRANSFER_POLICY_H_
