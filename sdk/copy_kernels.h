#ifndef KVFERRY_SDK_COPY_KERNELS_H_
#define KVFERRY_SDK_COPY_KERNELS_H_

#include <cstddef>
#include <span>

#include "absl/strings/string_view.h"

namespace kvferry::sdk {

using CopyFunction = void (*)(void* target, const void* source, size_t bytes);

// One way to copy memory that does not overlap, right for every size and
// alignment.
struct CopyKernel {
  const char* name;
  // What it stored is visible to whatever follows a release store.
  CopyFunction copy;
  // The same only after OrderCopies(), called once for many small runs.
  CopyFunction copy_unordered;
};

// REQUIRES  called by the thread that copied
void OrderCopies();

// A run of a multiple of these bytes to a target aligned to
// kStreamingAlignment is stored past the caches as a whole; the odd rest of
// others is not.
inline constexpr size_t kStreamingRunBytes = 256;
inline constexpr size_t kStreamingAlignment = 64;

// The kernels this CPU has, libc's first:
//
//   libc    memcpy
//   movsb   rep movsb
//   avx2    non-temporal 32-byte stores
//   avx512  non-temporal 64-byte stores
std::span<const CopyKernel> CopyKernels();

// The kernel called `wanted`; when that is empty or names none that is there,
// the fastest non-temporal one of this CPU, or libc's if it has none.
const CopyKernel& ChooseCopyKernel(absl::string_view wanted);

// From here on CopyBytes uses a non-temporal kernel.
//
// Such a kernel leaves the target out of the caches. Bytes nobody reads soon
// are written 1.3 times faster from 1 KiB on; bytes that are read at once cost
// 10 to 15 % more below 32 KiB, and nothing from 64 KiB on
// (docs/performance.md, "Copies").
inline constexpr size_t kStreamingCopyBytesMin = size_t{32} * 1024;

// The kernel of CopyBytes for large blocks: the CPU's best, or the one that
// $KVFERRY_COPY names. Chosen once.
const CopyKernel& LargeCopyKernel();
const char* CopyKernelName();

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_COPY_KERNELS_H_
