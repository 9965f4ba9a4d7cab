#include "tools/kvferryctl/gpu_samples.h"

namespace kvferry::ctl {

const GpuStatus* GpuSamples::Before(const GpuStatus& gpu) const {
  if (!earlier) return nullptr;
  for (const GpuStatus& before : earlier->gpus) {
    if (before.device == gpu.device) return &before;
  }
  return nullptr;
}

const GpuPoolStatus* GpuSamples::Before(const GpuStatus& gpu,
                                        const GpuPoolStatus& pool) const {
  const GpuStatus* const before = Before(gpu);
  if (before == nullptr) return nullptr;
  for (const GpuPoolStatus& one : before->pools) {
    if (one.namespace_name == pool.namespace_name && one.pool == pool.pool) {
      return &one;
    }
  }
  return nullptr;
}

double PerSecond(uint64_t before, uint64_t now, absl::Duration between) {
  const uint64_t counted = now >= before ? now - before : now;
  const double seconds = absl::ToDoubleSeconds(between);
  return seconds > 0 ? static_cast<double>(counted) / seconds : 0;
}

}  // namespace kvferry::ctl
