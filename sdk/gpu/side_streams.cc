#include "sdk/gpu/side_streams.h"

#include <utility>

#include "base/status.h"

namespace kvferry::sdk {

absl::StatusOr<std::unique_ptr<SideStreams>> SideStreams::Create(
    gpu::Device* device, uint32_t count_each_way) {
  std::unique_ptr<SideStreams> streams(new SideStreams);
  for (Streams* way : {&streams->in_, &streams->out_}) {
    for (uint32_t i = 0; i < count_each_way; ++i) {
      KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<gpu::Stream> stream,
                               device->CreateStream());
      way->push_back(std::move(stream));
    }
  }
  KVFERRY_ASSIGN_OR_RETURN(streams->staging_, device->CreateStream());
  return streams;
}

}  // namespace kvferry::sdk
