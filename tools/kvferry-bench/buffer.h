#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_BUFFER_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"

namespace kvferry::bench {

// Pages of shared memory.
enum class PageKind { kSmall, kHuge };

// An anonymous memory file of `bytes` bytes, no page of it there yet.
// Errors  kResourceExhausted  no such memory
absl::StatusOr<UniqueFd> MakeMemoryFile(uint64_t bytes, PageKind kind);

// Memory to copy from and to, every page of it there.
class Buffer {
 public:
  // A mapping of a memory file, as the pool's segments are.
  static absl::StatusOr<Buffer> Shared(uint64_t bytes, PageKind kind);
  // An engine's own memory, from malloc.
  static absl::StatusOr<Buffer> Private(uint64_t bytes);

  std::byte* data() const {
    return mapping_.valid() ? mapping_.data() : heap_.get();
  }
  uint64_t size() const { return bytes_; }
  std::span<std::byte> span() const { return {data(), bytes_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
  };

  uint64_t bytes_ = 0;
  Mapping mapping_;
  std::unique_ptr<std::byte, Free> heap_;
};

// Makes every page of the mapping there, as writing to each would. Errors as
// the kernel has them.
absl::Status PopulatePages(const Mapping& mapping);

// Walks a buffer round and round in strides, each starting where the last one
// ended, so that no copy finds its bytes in the cache.
class Rotation {
 public:
  explicit Rotation(const Buffer& buffer) : buffer_(&buffer) {}
  // REQUIRES  bytes <= the buffer's size
  std::byte* Next(uint64_t bytes) {
    if (offset_ + bytes > buffer_->size()) offset_ = 0;
    std::byte* const start = buffer_->data() + offset_;
    offset_ += bytes;
    return start;
  }

 private:
  const Buffer* buffer_;
  uint64_t offset_ = 0;
};

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_BUFFER_H_
