#ifndef KVFERRY_TESTS_SUPPORT_TEST_DEVICE_H_
#define KVFERRY_TESTS_SUPPORT_TEST_DEVICE_H_

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "protocol/gpu_name.h"

// Which device the tests of GPU memory use: the emulated one, unless the
// environment asks for CUDA.
//
//   KVFERRY_TEST_DEVICE       "emulated" (default) or "cuda"
//   KVFERRY_TEST_DEVICE_UUID  with "cuda": the device, as nvidia-smi -L prints
//                             it; else the first that nvidia-smi knows
//
// With "cuda" a test that needs what only the emulated device has begins with
// KVFERRY_EMULATED_ONLY(), and is skipped.
namespace kvferry::test {

inline bool TestsOnCuda() {
  const char* kind = std::getenv("KVFERRY_TEST_DEVICE");
  return kind != nullptr && std::string(kind) == "cuda";
}

// The first device of this machine, by its UUID; empty: there is none.
inline std::string FirstCudaDevice() {
  std::FILE* output =
      ::popen("nvidia-smi --query-gpu=uuid --format=csv,noheader", "r");
  if (output == nullptr) return "";
  char line[128] = "";
  const bool read = std::fgets(line, sizeof(line), output) != nullptr;
  ::pclose(output);
  std::string uuid(read ? line : "");
  while (!uuid.empty() && (uuid.back() == '\n' || uuid.back() == ' ')) {
    uuid.pop_back();
  }
  return uuid;
}

// For the configuration (gpu.devices) and for GpuOptions::device alike. Ends
// the test run when CUDA is asked for where there is none: a suite that quietly
// ran on another device would prove nothing.
inline const std::string& TestDeviceName() {
  static const std::string* const kName = [] {
    if (!TestsOnCuda()) return new std::string("emulated:0");
    const char* uuid = std::getenv("KVFERRY_TEST_DEVICE_UUID");
    auto* name = new std::string(uuid != nullptr ? uuid : FirstCudaDevice());
    if (!protocol::ParseGpuName(*name).ok()) {
      std::fprintf(
          stderr,
          "KVFERRY_TEST_DEVICE=cuda: \"%s\" is no device; set "
          "KVFERRY_TEST_DEVICE_UUID to one that nvidia-smi -L prints\n",
          name->c_str());
      std::abort();
    }
    return name;
  }();
  return *kName;
}

inline protocol::GpuUuid TestDeviceUuid() {
  return protocol::ParseGpuName(TestDeviceName())->uuid;
}

// Flags of a kvferryd that serves the device, `pool_size` of its memory.
inline std::vector<std::string> GpuDaemonFlags(
    const std::string& pool_size = "4MiB") {
  return {"--gpu-devices", TestDeviceName(), "--gpu-pool-size", pool_size};
}

}  // namespace kvferry::test

#define KVFERRY_EMULATED_ONLY()                                  \
  do {                                                           \
    if (::kvferry::test::TestsOnCuda()) {                        \
      GTEST_SKIP() << "needs what only the emulated device has"; \
    }                                                            \
  } while (false)

#endif  // KVFERRY_TESTS_SUPPORT_TEST_DEVICE_H_
