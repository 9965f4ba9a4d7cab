#ifndef KVFERRY_SDK_GPU_STAGER_H_
#define KVFERRY_SDK_GPU_STAGER_H_

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "sdk/gpu/copy_way.h"
#include "sdk/gpu/device_work.h"
#include "sdk/gpu/event_pool.h"
#include "sdk/gpu/gpu_operation.h"
#include "sdk/gpu/staging_buffer.h"

namespace kvferry::sdk {

// A page in host memory that the device does not reach.
struct StagedPage {
  uint64_t engine_block = 0;
  std::byte* page = nullptr;
  uint32_t slice = 0;
  uint32_t valid_tokens = 0;  // 0: all
};

// Pages of one transfer that take the way through staging.
struct StagingJob {
  std::shared_ptr<GpuOperation> operation;
  CopyWay way = CopyWay::kIn;
  std::shared_ptr<const gpu::PreparedLayout> layout;
  gpu::LayerRange layers;  // count is not 0
  std::vector<StagedPage> pages;
  // What the copies begin after; the transfer keeps it. Null: nothing.
  const gpu::Event* after = nullptr;
  // GpuOperation::SetLaunched, when the last page is with the device.
  uint32_t launched_layers = 0;
};

// The thread that moves pages through staging: the processor copies them into
// one half of a buffer while the device works on the other. The buffer, and the
// thread, are made for the first page.
//
// A job is one part of its transfer, and every half that is filled for it
// another.
//
// Life cycle  1. Add   2. Stop: waits until all is done
// Threads     Add: any. Stop: the owner's.
class Stager {
 public:
  Stager(gpu::Device* device, EventPool* events, void* stream, uint64_t bytes)
      : device_(device), events_(events), stream_(stream), bytes_(bytes) {}
  ~Stager() { Stop(); }
  Stager(const Stager&) = delete;
  Stager& operator=(const Stager&) = delete;

  // Takes a job, whose part was added to its transfer. One that fails ends its
  // part with the error.
  void Add(StagingJob job);
  void Stop();

 private:
  // One half of the buffer: what lies in it, until the device is done with it.
  struct Half {
    bool busy = false;
    DeviceWork work;
    std::shared_ptr<GpuOperation> operation;
    uint64_t bytes = 0;
    // Of pages on their way out: where they go.
    struct Landing {
      std::byte* page = nullptr;
      uint64_t offset = 0;  // in the half
      uint64_t bytes = 0;
    };
    std::vector<Landing> landings;
  };

  void Run();
  void RunJob(StagingJob* job);
  // Fills a half with as many pages from `next` on as there is room for.
  absl::Status FillHalf(const StagingJob& job, gpu::LayerRange layers,
                        size_t* next);
  // Waits until the half is free.
  void Empty(Half* half);
  void Land(Half* half, absl::Status status);
  // Between host pages and a half, in the device's memory.
  absl::Status CopyPages(std::span<const gpu::Copy> copies);

  uint64_t half_bytes() const { return bytes_ / 2; }

  gpu::Device* const device_;
  EventPool* const events_;
  void* const stream_;
  const uint64_t bytes_;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<StagingJob> jobs_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);

  // The thread's own.
  std::unique_ptr<StagingBuffer> buffer_;
  std::array<Half, 2> halves_;
  uint32_t next_half_ = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_STAGER_H_
