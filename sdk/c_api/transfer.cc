// Copies under way between blocks and a device.

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/gpu.h"
#include "kvferry/kvferry_gpu.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

extern "C" {

void kvf_transfer_destroy(kvf_transfer* transfer) { delete transfer; }

int kvf_transfer_done(const kvf_transfer* transfer) {
  return AnswerOr(0, [transfer] {
    return IsUsable(transfer) && transfer->transfer.done() ? 1 : 0;
  });
}

kvf_status kvf_transfer_status(const kvf_transfer* transfer) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(transfer, "transfer"));
    return transfer->transfer.status();
  });
}

kvf_status kvf_transfer_wait(const kvf_transfer* transfer, int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(transfer, "transfer"));
    return transfer->transfer.Wait(Deadline(timeout_ns));
  });
}

kvf_status kvf_transfer_order_after(const kvf_transfer* transfer, void* stream,
                                    uint32_t layers) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(transfer, "transfer"));
    return transfer->transfer.OrderAfter(GpuStream{stream}, layers);
  });
}

kvf_status kvf_transfer_skipped(const kvf_transfer* transfer,
                                uint32_t* positions, size_t capacity,
                                size_t* count) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(transfer, "transfer"));
    KVFERRY_RETURN_IF_ERROR(NotNull(positions, capacity, "positions"));
    KVFERRY_RETURN_IF_ERROR(NotNull(count, "count"));
    if (!transfer->transfer.done()) {
      return absl::UnavailableError("the transfer is under way");
    }
    std::vector<uint32_t> skipped = transfer->transfer.skipped();
    *count = skipped.size();
    if (skipped.size() > capacity) {
      return absl::OutOfRangeError(absl::StrCat(
          "capacity is ", capacity, ", there are ", skipped.size()));
    }
    std::sort(skipped.begin(), skipped.end());
    std::copy(skipped.begin(), skipped.end(), positions);
    return absl::OkStatus();
  });
}

uint64_t kvf_transfer_bytes(const kvf_transfer* transfer) {
  return AnswerOr(uint64_t{0}, [transfer]() -> uint64_t {
    if (!IsUsable(transfer) || !transfer->transfer.done()) return 0;
    return transfer->transfer.bytes();
  });
}

}  // extern "C"
