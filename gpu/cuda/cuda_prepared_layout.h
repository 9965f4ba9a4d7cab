#ifndef KVFERRY_GPU_CUDA_CUDA_PREPARED_LAYOUT_H_
#define KVFERRY_GPU_CUDA_CUDA_PREPARED_LAYOUT_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "gpu/device.h"
#include "gpu/engine_layout.h"
#include "gpu/transfer_plan.h"

namespace kvferry::gpu {

// A layout, and its layers' addresses in device memory.
class CudaPreparedLayout : public PreparedLayout {
 public:
  CudaPreparedLayout(EngineLayout layout, TransferPlanner planner,
                     std::unique_ptr<DeviceMemory> bases)
      : PreparedLayout(std::move(layout)),
        planner_(std::move(planner)),
        bases_(std::move(bases)) {}

  const TransferPlanner& planner() const { return planner_; }
  // planner().bases(), as a kernel reads them.
  const uint64_t* device_bases() const {
    return reinterpret_cast<const uint64_t*>(bases_->address());
  }

 private:
  const TransferPlanner planner_;
  const std::unique_ptr<DeviceMemory> bases_;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_CUDA_PREPARED_LAYOUT_H_
