// What a build without the CUDA toolkit says in place of gpu/cuda.

#include "gpu/device.h"

namespace kvferry::gpu {
namespace {

absl::Status Absent() {
  return absl::UnimplementedError(
      "gpu: this build has no CUDA in it (KVFERRY_CUDA)");
}

}  // namespace

bool BuiltWithCuda() { return false; }

absl::StatusOr<std::unique_ptr<Device>> OpenCuda(int /*ordinal*/) {
  return Absent();
}

absl::StatusOr<std::unique_ptr<Device>> OpenCuda(const Uuid& /*uuid*/) {
  return Absent();
}

}  // namespace kvferry::gpu
