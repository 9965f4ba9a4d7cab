#ifndef KVFERRY_GPU_CUDA_COPY_BATCH_H_
#define KVFERRY_GPU_CUDA_COPY_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "gpu/device.h"

namespace kvferry::gpu {

// Copies for one call of cudaMemcpyBatchAsync; empty ones are left out. Two
// that touch are not made one: neighbours in address may be two registrations,
// which no copy may span.
class CopyBatch {
 public:
  static constexpr size_t kCopiesMax = 256;

  // Takes from the front of `copies` until it is full; returns how many.
  size_t Fill(std::span<const Copy> copies) {
    count_ = 0;
    size_t taken = 0;
    for (; taken < copies.size(); ++taken) {
      const Copy& copy = copies[taken];
      if (copy.bytes == 0) continue;
      if (count_ == kCopiesMax) break;
      targets_[count_] = copy.target;
      sources_[count_] = copy.source;
      sizes_[count_] = copy.bytes;
      ++count_;
    }
    return taken;
  }

  size_t count() const { return count_; }
  void* const* targets() const { return targets_; }
  const void* const* sources() const { return sources_; }
  const size_t* sizes() const { return sizes_; }

 private:
  size_t count_ = 0;
  void* targets_[kCopiesMax];
  const void* sources_[kCopiesMax];
  size_t sizes_[kCopiesMax];
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_CUDA_COPY_BATCH_H_
