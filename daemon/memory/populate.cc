#include "daemon/memory/populate.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::memory {
namespace {

constexpr uint64_t kStepBytes = uint64_t{4} << 20;

}  // namespace

absl::Status Populate(std::byte* data, uint64_t bytes,
                      const std::atomic<bool>* stop) {
  for (uint64_t offset = 0; offset < bytes; offset += kStepBytes) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) {
      return absl::CancelledError("populate: stopped");
    }
    const uint64_t step = std::min(kStepBytes, bytes - offset);
    while (::madvise(data + offset, step, MADV_POPULATE_WRITE) != 0) {
      if (errno == EINTR || errno == EAGAIN) continue;
      // A fault that would have been SIGBUS: the file system or the pool of
      // huge pages is empty.
      const int error = errno == EFAULT ? ENOMEM : errno;
      return ErrnoStatus(
          error, absl::StrCat("populate: byte ", offset, " of ", bytes));
    }
  }
  return absl::OkStatus();
}

absl::Status PopulateInParallel(std::byte* data, uint64_t bytes,
                                unsigned threads,
                                const std::atomic<bool>* stop) {
  if (threads <= 1 || bytes < threads * kStepBytes) {
    return Populate(data, bytes, stop);
  }
  const uint64_t part =
      (bytes / threads + kStepBytes - 1) / kStepBytes * kStepBytes;
  std::vector<absl::Status> results(threads);
  std::vector<std::thread> helpers;
  for (unsigned i = 1; i < threads; ++i) {
    const uint64_t first = std::min(bytes, i * part);
    const uint64_t end = std::min(bytes, first + part);
    helpers.emplace_back([=, &results] {
      results[i] = Populate(data + first, end - first, stop);
    });
  }
  results[0] = Populate(data, std::min(bytes, part), stop);
  for (std::thread& helper : helpers) helper.join();
  for (const absl::Status& result : results) {
    KVFERRY_RETURN_IF_ERROR(result);
  }
  return absl::OkStatus();
}

unsigned PopulateThreads() {
  return std::thread::hardware_concurrency() > 2 ? 2 : 1;
}

}  // namespace kvferry::memory
