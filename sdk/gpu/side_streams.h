#ifndef KVFERRY_SDK_GPU_SIDE_STREAMS_H_
#define KVFERRY_SDK_GPU_SIDE_STREAMS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "gpu/device.h"

namespace kvferry::sdk {

// The queues of our own that copies are given to, so that an engine's stream
// never waits for them unless it asks to. Some for pulls, some for
// publications, and one for each way that pages take through staging; work is
// spread over the first two kinds in turn.
//
// Threads  any number
class SideStreams {
 public:
  // Errors  as Device::CreateStream
  static absl::StatusOr<std::unique_ptr<SideStreams>> Create(
      gpu::Device* device, uint32_t count_each_way);

  // What the Device takes (Stream::native).
  void* NextIn() { return Next(in_, &next_in_); }
  void* NextOut() { return Next(out_, &next_out_); }
  void* staging() const { return staging_->native(); }

 private:
  using Streams = std::vector<std::unique_ptr<gpu::Stream>>;

  SideStreams() = default;
  static void* Next(const Streams& streams, std::atomic<uint32_t>* next) {
    return streams[next->fetch_add(1, std::memory_order_relaxed) %
                   streams.size()]
        ->native();
  }

  Streams in_;
  Streams out_;
  std::unique_ptr<gpu::Stream> staging_;
  std::atomic<uint32_t> next_in_{0};
  std::atomic<uint32_t> next_out_{0};
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_SIDE_STREAMS_H_
