#include "kvferry/copy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "sdk/copy_kernels.h"

namespace kvferry::sdk {
namespace {

constexpr std::byte kGuard{0xa5};
constexpr size_t kGuardBytes = 64;

// Memory whose last byte is the last of a page that nothing follows, and whose
// first page is preceded by none: a read or write outside is a crash.
class FencedMemory {
 public:
  explicit FencedMemory(size_t bytes)
      : page_(static_cast<size_t>(::sysconf(_SC_PAGESIZE))),
        size_((bytes + page_ - 1) / page_ * page_) {
    void* const start = ::mmap(nullptr, size_ + 2 * page_, PROT_NONE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(start, MAP_FAILED);
    data_ = static_cast<std::byte*>(start) + page_;
    EXPECT_EQ(::mprotect(data_, size_, PROT_READ | PROT_WRITE), 0);
  }
  ~FencedMemory() { ::munmap(data_ - page_, size_ + 2 * page_); }
  FencedMemory(const FencedMemory&) = delete;
  FencedMemory& operator=(const FencedMemory&) = delete;

  std::byte* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  size_t page_;
  size_t size_;
  std::byte* data_;
};

std::vector<std::byte> RandomBytes(size_t size) {
  std::mt19937_64 random(size + 1);
  std::vector<std::byte> bytes(size);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

struct CopyFunctionCase {
  std::string name;
  CopyFunction copy;
};

// Copies `size` bytes between buffers that start at the given offsets from a
// 64-byte boundary and checks every byte copied and kGuardBytes on each side.
void ExpectCopies(const CopyFunctionCase& kernel,
                  const std::vector<std::byte>& data,
                  std::vector<std::byte>& room, size_t size,
                  size_t source_offset, size_t target_offset) {
  const auto aligned = [](std::byte* bytes) {
    return bytes + (-reinterpret_cast<uintptr_t>(bytes) & 63);
  };
  const std::byte* const source =
      aligned(const_cast<std::byte*>(data.data())) + source_offset;
  std::byte* const target = aligned(room.data()) + kGuardBytes + target_offset;
  std::memset(target - kGuardBytes, static_cast<int>(kGuard),
              size + 2 * kGuardBytes);

  kernel.copy(target, source, size);

  const std::vector<std::byte> guard(kGuardBytes, kGuard);
  const bool same = size == 0 || std::memcmp(target, source, size) == 0;
  const bool guarded =
      std::memcmp(target - kGuardBytes, guard.data(), kGuardBytes) == 0 &&
      std::memcmp(target + size, guard.data(), kGuardBytes) == 0;
  if (!same || !guarded) {
    ADD_FAILURE() << kernel.name << ": " << size << " bytes, source at "
                  << source_offset << ", target at " << target_offset
                  << (same ? ", wrote outside" : ", wrong bytes");
  }
}

// The kernels of this CPU, ordered and not, and CopyBytes beside them.
std::vector<CopyFunctionCase> Cases() {
  std::vector<CopyFunctionCase> cases{{"CopyBytes", CopyBytes}};
  for (const CopyKernel& kernel : CopyKernels()) {
    cases.push_back({kernel.name, kernel.copy});
    cases.push_back(
        {std::string(kernel.name) + "_unordered", kernel.copy_unordered});
  }
  return cases;
}

class CopyKernelTest : public testing::TestWithParam<CopyFunctionCase> {};

TEST_P(CopyKernelTest, CopiesEverySizeToAPage) {
  constexpr size_t kSizeMax = 4096 + 256;
  const std::vector<std::byte> data = RandomBytes(kSizeMax + 128);
  std::vector<std::byte> room(kSizeMax + 256 + 2 * kGuardBytes);
  for (size_t size = 0; size <= kSizeMax; ++size) {
    ExpectCopies(GetParam(), data, room, size, 0, 0);
    ExpectCopies(GetParam(), data, room, size, 1 + size % 63, size * 7 % 64);
  }
}

TEST_P(CopyKernelTest, CopiesFromAndToEveryAlignment) {
  // Around a head, a round, the prefetch distance and the warm part.
  constexpr size_t kSizes[] = {1, 63, 64, 65, 255, 256, 257, 2303, 2560, 3333};
  const std::vector<std::byte> data = RandomBytes(4096);
  std::vector<std::byte> room(4096 + 2 * kGuardBytes);
  for (const size_t size : kSizes) {
    for (size_t source = 0; source < 64; ++source) {
      for (size_t target = 0; target < 64; ++target) {
        ExpectCopies(GetParam(), data, room, size, source, target);
      }
    }
  }
}

TEST_P(CopyKernelTest, CopiesLargeBlocks) {
  constexpr size_t kSizeMax = (size_t{1} << 20) + 4096;
  const std::vector<std::byte> data = RandomBytes(kSizeMax + 128);
  std::vector<std::byte> room(kSizeMax + 256 + 2 * kGuardBytes);
  for (const size_t base :
       {kStreamingCopyBytesMin, size_t{64} * 1024, size_t{64} * 1024 + 2048,
        size_t{256} * 1024, size_t{1} << 20}) {
    for (const size_t size :
         {base - 257, base - 1, base, base + 1, base + 300}) {
      ExpectCopies(GetParam(), data, room, size, 0, 0);
      ExpectCopies(GetParam(), data, room, size, 13, 5);
    }
  }
}

TEST_P(CopyKernelTest, TouchesNothingOutsideTheBlocks) {
  const FencedMemory source(size_t{128} * 1024);
  const FencedMemory target(size_t{128} * 1024);
  const std::vector<std::byte> data = RandomBytes(source.size());
  std::memcpy(source.data(), data.data(), data.size());
  for (const size_t size :
       {size_t{1}, size_t{200}, size_t{256}, size_t{2048}, size_t{2304},
        size_t{5000}, size_t{70000}, source.size()}) {
    GetParam().copy(target.data(), source.data(), size);
    ASSERT_EQ(std::memcmp(target.data(), source.data(), size), 0) << size;

    const size_t last = source.size() - size;
    GetParam().copy(target.data() + last, source.data() + last, size);
    ASSERT_EQ(std::memcmp(target.data() + last, source.data() + last, size), 0)
        << size;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cpu, CopyKernelTest, testing::ValuesIn(Cases()),
    [](const testing::TestParamInfo<CopyFunctionCase>& param) {
      return param.param.name;
    });

TEST(CopyKernelsTest, LibcIsFirstAndNamesAreUnique) {
  std::vector<std::string> names;
  for (const CopyKernel& kernel : CopyKernels()) names.push_back(kernel.name);

  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names.front(), "libc");
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::unique(names.begin(), names.end()), names.end());
}

TEST(CopyKernelsTest, EveryKernelCanBeAskedFor) {
  for (const CopyKernel& kernel : CopyKernels()) {
    EXPECT_EQ(&ChooseCopyKernel(kernel.name), &kernel);
  }
}

TEST(CopyKernelsTest, TheDefaultIsTheWidestKernelTheCpuDoesNotSplit) {
  std::string best = "libc";
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) best = "avx2";
  if (__builtin_cpu_supports("avx512f") && !__builtin_cpu_is("amdfam19h")) {
    best = "avx512";
  }
#endif

  EXPECT_EQ(ChooseCopyKernel("").name, best);
  EXPECT_EQ(ChooseCopyKernel("avx1024").name, best);
}

TEST(CopyKernelsTest, TheEnvironmentChoosesForTheProcess) {
  const char* const wanted = ::getenv("KVFERRY_COPY");

  EXPECT_STREQ(CopyKernelName(),
               ChooseCopyKernel(wanted == nullptr ? "" : wanted).name);
}

// The choice is made once a process, so other values need other processes.
using CopyEnvironmentTest = testing::TestWithParam<CopyKernel>;

TEST_P(CopyEnvironmentTest, IsHeardByANewProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const std::string name = GetParam().name;
  EXPECT_EXIT(
      {
        ::setenv("KVFERRY_COPY", name.c_str(), 1);
        std::fprintf(stderr, "copies by %s.", CopyKernelName());
        std::exit(0);
      },
      testing::ExitedWithCode(0), "copies by " + name + "\\.");
}

INSTANTIATE_TEST_SUITE_P(Cpu, CopyEnvironmentTest,
                         testing::ValuesIn(CopyKernels().begin(),
                                           CopyKernels().end()),
                         [](const testing::TestParamInfo<CopyKernel>& param) {
                           return std::string(param.param.name);
                         });

TEST(CopyBytesTest, NothingFromNowhereIsNothing) {
  CopyBytes(nullptr, nullptr, 0);
  for (const CopyKernel& kernel : CopyKernels()) {
    kernel.copy(nullptr, nullptr, 0);
    kernel.copy_unordered(nullptr, nullptr, 0);
    OrderCopies();
  }
}

}  // namespace
}  // namespace kvferry::sdk
