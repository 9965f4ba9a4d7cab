#ifndef KVFERRY_TOOLS_KVFERRYCTL_GPU_TEXT_H_
#define KVFERRY_TOOLS_KVFERRYCTL_GPU_TEXT_H_

#include <string>

#include "tools/kvferryctl/gpu_samples.h"

namespace kvferry::ctl {

// Every device with its pools, in lines of at most 80 columns: names of
// namespaces and groups are cut short for it.
std::string GpusText(const GpuSamples& samples);

// One device in a few words, for `status`: "emulated:0 (emulated), serving, 0 B
// of 64 MiB in namespaces".
std::string GpuLine(const GpuStatus& gpu);

}  // namespace kvferry::ctl

#endif  // KVFERRY_TOOLS_KVFERRYCTL_GPU_TEXT_H_
