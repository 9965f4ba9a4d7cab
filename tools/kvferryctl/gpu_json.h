#ifndef KVFERRY_TOOLS_KVFERRYCTL_GPU_JSON_H_
#define KVFERRY_TOOLS_KVFERRYCTL_GPU_JSON_H_

#include "tools/kvferryctl/gpu_samples.h"
#include "tools/support/json.h"

namespace kvferry::ctl {

// One object a device; README.md has the members.
tools::Json GpusJson(const GpuSamples& samples);

}  // namespace kvferry::ctl

#endif  // KVFERRY_TOOLS_KVFERRYCTL_GPU_JSON_H_
