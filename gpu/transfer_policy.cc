#include "gpu/transfer_policy.h"

namespace kvferry::gpu {

TransferMethod ChooseTransferMethod(const TransferWork& work,
                                    const TransferThresholds& thresholds) {
  // No kernel reaches it.
  if (work.side == PageSide::kHostUnregistered) return TransferMethod::kStaged;
  const bool on_host = work.side == PageSide::kHost;
  const uint64_t run_bytes_min = on_host ? thresholds.host_copy_run_bytes_min
                                         : thresholds.device_copy_run_bytes_min;
  if (work.has_batched_copies && work.run_bytes >= run_bytes_min &&
      work.runs <= thresholds.copies_max) {
    return TransferMethod::kBatchedCopies;
  }
  if (on_host && work.bytes() >= thresholds.host_staged_bytes_min) {
    return TransferMethod::kStaged;
  }
  return TransferMethod::kKernel;
}

}  // namespace kvferry::gpu
