// What a build with CUDA says without a GPU; with one, the tests of the device
// suite take over (KVFERRY_TEST_DEVICE=cuda).

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gpu/cuda/cuda_error.h"
#include "gpu/cuda/own_exports.h"
#include "gpu/device.h"
#include "tests/support/status_matchers.h"

namespace kvferry::gpu {
namespace {

using test::StatusIs;
using testing::AllOf;
using testing::HasSubstr;

bool HasDriver() {
  int version = 0;
  return cudaDriverGetVersion(&version) == cudaSuccess && version != 0;
}

TEST(OpenCudaTest, TheBuildHasCuda) { EXPECT_TRUE(BuiltWithCuda()); }

// Goal: without a driver every way to open a device says so, and what it needs.
TEST(OpenCudaTest, WithoutADriverSaysWhatIsMissing) {
  if (HasDriver()) GTEST_SKIP() << "this machine has a driver";
  const auto refusal =
      StatusIs(absl::StatusCode::kUnavailable,
               AllOf(HasSubstr("no NVIDIA driver"), HasSubstr("CUDA 13.")));
  EXPECT_THAT(OpenCuda(-1), refusal);
  EXPECT_THAT(OpenCuda(0), refusal);
  EXPECT_THAT(OpenCuda(Uuid{1, 2, 3}), refusal);
  EXPECT_THAT(OpenDevice(""), refusal);
  EXPECT_THAT(OpenDevice("GPU-01020300-0000-0000-0000-000000000000"), refusal);
}

// Goal: with one, what is not there is told from what is.
TEST(OpenCudaTest, WithADriverNamesWhatItSees) {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    GTEST_SKIP() << "this machine has no GPU";
  }
  EXPECT_THAT(OpenCuda(count), StatusIs(absl::StatusCode::kNotFound,
                                        HasSubstr("this process sees")));
  EXPECT_THAT(OpenCuda(Uuid{}), StatusIs(absl::StatusCode::kNotFound,
                                         HasSubstr("this process sees GPU-")));
}

// Goal: codes say what to do next, as gpu/device.h has them; the text is
// CUDA's.
TEST(CudaErrorTest, CodesFollowTheInterface) {
  const auto status = [](cudaError_t error) {
    return CudaStatus(error, "what");
  };
  EXPECT_THAT(status(cudaErrorMemoryAllocation),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       AllOf(HasSubstr("what: cudaErrorMemoryAllocation"),
                             HasSubstr("out of memory"))));
  EXPECT_THAT(status(cudaErrorInvalidValue),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(status(cudaErrorNotSupported),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(status(cudaErrorStreamCaptureUnsupported),
              StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(status(cudaErrorIllegalAddress),
              StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(CudaStatus(CUDA_ERROR_OUT_OF_MEMORY, "what"),
              StatusIs(absl::StatusCode::kResourceExhausted));
}

// Goal: only what every later call fails with makes a context broken.
TEST(CudaErrorTest, TellsABrokenContextFromARefusedCall) {
  for (const cudaError_t error :
       {cudaErrorIllegalAddress, cudaErrorLaunchFailure,
        cudaErrorECCUncorrectable, cudaErrorContextIsDestroyed}) {
    EXPECT_TRUE(BreaksContext(error)) << cudaGetErrorName(error);
  }
  for (const cudaError_t error :
       {cudaErrorMemoryAllocation, cudaErrorInvalidValue, cudaErrorNotReady,
        cudaErrorNotSupported, cudaErrorStreamCaptureImplicit,
        cudaErrorDeviceUninitialized}) {
    EXPECT_FALSE(BreaksContext(error)) << cudaGetErrorName(error);
  }
}

TEST(CudaErrorTest, VersionsReadAsNvidiaWritesThem) {
  EXPECT_EQ(CudaVersionText(13000), "13.0");
  EXPECT_EQ(CudaVersionText(12080), "12.8");
}

// Goal: a process that exported nothing takes nobody's memory for its own: two
//       containers may both have given it its process id.
TEST(OwnExportsTest, TheProcessIdAloneIsNotEnough) {
  ExportedMemory exported;
  exported.owner_pid = ::getpid();
  EXPECT_FALSE(OwnExports::Contain(exported));

  OwnExports::Note();

  EXPECT_TRUE(OwnExports::Contain(exported));
  exported.owner_pid = ::getpid() + 1;
  EXPECT_FALSE(OwnExports::Contain(exported));
}

}  // namespace
}  // namespace kvferry::gpu
