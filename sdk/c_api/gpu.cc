// A client's device, and blocks on their way from and to it.

#include "kvferry/gpu.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/kvferry_gpu.h"
#include "protocol/limits.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/positions.h"
#include "sdk/c_api/sized_structs.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

absl::StatusOr<GpuOptions> ToGpuOptions(const kvf_gpu_options* options) {
  kvf_gpu_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(CheckFlags(read.flags, KVF_GPU_NO_HOST_REGISTRATION,
                                     "kvf_gpu_options.flags"));
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(read.reserved, "kvf_gpu_options.reserved"));
  GpuOptions result;
  result.device = std::string(TextOrEmpty(read.device));
  result.register_host_memory =
      (read.flags & KVF_GPU_NO_HOST_REGISTRATION) == 0;
  if (read.side_streams != 0) result.side_streams = read.side_streams;
  if (read.staging_bytes != 0) result.staging_bytes = read.staging_bytes;
  return result;
}

absl::StatusOr<GpuPullOptions> ToGpuPullOptions(
    const kvf_gpu_pull_options* options) {
  kvf_gpu_pull_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(read.reserved, "kvf_gpu_pull_options.reserved"));
  GpuPullOptions result;
  result.layers_a_piece = read.layers_a_piece;
  return result;
}

absl::StatusOr<GpuPublishOptions> ToGpuPublishOptions(
    const kvf_gpu_publish_options* options) {
  kvf_gpu_publish_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(CheckFlags(read.flags, KVF_GPU_PUBLISH_NO_COMMIT,
                                     "kvf_gpu_publish_options.flags"));
  GpuPublishOptions result;
  result.first_layer = read.first_layer;
  result.layer_count = read.layer_count;
  result.commit = (read.flags & KVF_GPU_PUBLISH_NO_COMMIT) == 0;
  return result;
}

// What a copy on a stream can touch: a device's memory. The emulated one's is
// the host's, so that there it may be either.
absl::StatusOr<GpuPull> ToGpuPull(const kvf_gpu& gpu,
                                  const kvf_gpu_blocks& blocks) {
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(blocks.reserved, "kvf_gpu_blocks.reserved"));
  KVFERRY_RETURN_IF_ERROR(NotNull(blocks.paged, "kvf_gpu_blocks.paged"));
  KVFERRY_RETURN_IF_ERROR(NotNull(blocks.engine_blocks, blocks.count,
                                  "kvf_gpu_blocks.engine_blocks"));
  if (!blocks.paged->device && !gpu.gpu->emulated()) {
    return absl::FailedPreconditionError(
        "kvf_gpu_blocks.paged: memory of the host, not of a device "
        "(KVF_PAGED_DEVICE)");
  }
  return GpuPull{.group = blocks.group,
                 .memory = &blocks.paged->memory,
                 .first = blocks.first,
                 .engine_blocks = {blocks.engine_blocks, blocks.count},
                 .last_tokens = blocks.last_tokens};
}

absl::StatusOr<std::vector<GpuPull>> ToGpuPulls(const kvf_gpu& gpu,
                                                const kvf_gpu_blocks* blocks,
                                                size_t count) {
  KVFERRY_RETURN_IF_ERROR(NotNull(blocks, count, "blocks"));
  // Before the array is walked: its length is the caller's word.
  if (count > protocol::kGroupsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("block_lists is ", count, ", at most ",
                     protocol::kGroupsMax, " can be named"));
  }
  std::vector<GpuPull> pulls;
  pulls.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    kvf_gpu_blocks read = {};
    KVFERRY_RETURN_IF_ERROR(ReadElementOf(blocks, i, &read));
    KVFERRY_ASSIGN_OR_RETURN(const GpuPull pull, ToGpuPull(gpu, read));
    pulls.push_back(pull);
  }
  return pulls;
}

// A device and something of a client's, which must be the device's client.
template <typename Handle>
absl::Status CheckSameClient(const kvf_gpu& gpu, const Handle& handle,
                             const char* name) {
  if (handle.shared == gpu.shared) [[likely]]
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, handle.shared == nullptr ? ": nothing was ever matched into it"
                                     : ": another client's than gpu's"));
}

}  // namespace

extern "C" {

kvf_status kvf_gpu_open(kvf_client* client, const kvf_gpu_options* options,
                        kvf_gpu** gpu) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(gpu, "gpu"));
    *gpu = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_ASSIGN_OR_RETURN(const GpuOptions open, ToGpuOptions(options));
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Gpu> opened,
                             Gpu::Open(client->shared->client.get(), open));
    std::string uuid = opened->device_uuid();
    std::string name = opened->device_name();
    *gpu = new kvf_gpu{.shared = client->shared,
                       .uuid = std::move(uuid),
                       .name = std::move(name),
                       .gpu = std::move(opened),
                       .guard = {}};
    return absl::OkStatus();
  });
}

void kvf_gpu_close(kvf_gpu* gpu) { delete gpu; }

kvf_status kvf_gpu_get_info(const kvf_gpu* gpu, kvf_gpu_info* info) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(info));
    kvf_gpu_info result = {};
    result.uuid = gpu->uuid.c_str();
    result.name = gpu->name.c_str();
    result.emulated = gpu->gpu->emulated() ? 1 : 0;
    result.has_pool = gpu->gpu->has_pool() ? 1 : 0;
    WriteSized(result, info);
    return absl::OkStatus();
  });
}

kvf_status kvf_gpu_check_pool(const kvf_gpu* gpu) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    return gpu->gpu->pool_status();
  });
}

kvf_status kvf_gpu_pull(kvf_gpu* gpu, kvf_prefix* prefix,
                        const kvf_gpu_blocks* blocks, size_t block_lists,
                        void* stream, const kvf_gpu_pull_options* options,
                        kvf_transfer** transfer) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(transfer, "transfer"));
    *transfer = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    KVFERRY_RETURN_IF_ERROR(Usable(prefix, "prefix"));
    KVFERRY_RETURN_IF_ERROR(CheckSameClient(*gpu, *prefix, "prefix"));
    KVFERRY_ASSIGN_OR_RETURN(const GpuPullOptions pull,
                             ToGpuPullOptions(options));
    KVFERRY_ASSIGN_OR_RETURN(const std::vector<GpuPull> pulls,
                             ToGpuPulls(*gpu, blocks, block_lists));
    // Before there is a transfer that a failure here would lose.
    auto made = std::make_unique<kvf_transfer>();
    KVFERRY_ASSIGN_OR_RETURN(made->transfer,
                             gpu->gpu->PullTo(std::move(prefix->prefix), pulls,
                                              GpuStream{stream}, pull));
    *transfer = made.release();
    return absl::OkStatus();
  });
}

kvf_status kvf_gpu_follow(kvf_gpu* gpu, kvf_stream* prompt,
                          const kvf_gpu_blocks* blocks, void* stream,
                          const kvf_gpu_pull_options* options,
                          kvf_transfer** transfer) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(transfer, "transfer"));
    *transfer = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    KVFERRY_RETURN_IF_ERROR(Usable(prompt, "prompt"));
    KVFERRY_RETURN_IF_ERROR(CheckSameClient(*gpu, *prompt, "prompt"));
    KVFERRY_ASSIGN_OR_RETURN(const GpuPullOptions pull,
                             ToGpuPullOptions(options));
    kvf_gpu_blocks read = {};
    KVFERRY_RETURN_IF_ERROR(ReadSized(blocks, &read));
    KVFERRY_ASSIGN_OR_RETURN(const GpuPull pulled, ToGpuPull(*gpu, read));
    auto made = std::make_unique<kvf_transfer>();
    KVFERRY_ASSIGN_OR_RETURN(made->transfer,
                             gpu->gpu->Follow(std::move(prompt->stream), pulled,
                                              GpuStream{stream}, pull));
    *transfer = made.release();
    return absl::OkStatus();
  });
}

kvf_status kvf_gpu_publish(kvf_gpu* gpu, kvf_publication* publication,
                           const kvf_gpu_blocks* blocks, void* stream,
                           const kvf_gpu_publish_options* options,
                           kvf_transfer** transfer) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(transfer, "transfer"));
    *transfer = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(CheckSameClient(*gpu, *publication, "publication"));
    KVFERRY_ASSIGN_OR_RETURN(GpuPublishOptions publish,
                             ToGpuPublishOptions(options));
    kvf_gpu_blocks read = {};
    KVFERRY_RETURN_IF_ERROR(ReadSized(blocks, &read));
    KVFERRY_ASSIGN_OR_RETURN(const GpuPull from, ToGpuPull(*gpu, read));
    KVFERRY_RETURN_IF_ERROR(
        CheckPositions(*publication, read.first, read.count));
    publish.last_tokens = read.last_tokens;
    auto made = std::make_unique<kvf_transfer>();
    KVFERRY_ASSIGN_OR_RETURN(
        made->transfer, gpu->gpu->PublishFrom(
                            &publication->publication, from.first, *from.memory,
                            from.engine_blocks, GpuStream{stream}, publish));
    *transfer = made.release();
    return absl::OkStatus();
  });
}

kvf_status kvf_gpu_prefix_page(const kvf_gpu* gpu, const kvf_prefix* prefix,
                               uint32_t position, uint32_t slice,
                               uint32_t group, void** page) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    KVFERRY_RETURN_IF_ERROR(Usable(prefix, "prefix"));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    KVFERRY_RETURN_IF_ERROR(CheckSameClient(*gpu, *prefix, "prefix"));
    KVFERRY_RETURN_IF_ERROR(CheckGroup(*prefix->shared, group));
    const uint32_t slices = prefix->shared->spec.groups[group].slice_count;
    if (prefix->prefix.residence(position, group) == BlockResidence::kNone ||
        slice >= slices) {
      return absl::OutOfRangeError(absl::StrCat(
          "position ", position, ", slice ", slice, " of group ", group,
          ": pinned are positions [", prefix->prefix.first_block(group), ", +",
          prefix->prefix.block_count(group), "), of ", slices, " slices"));
    }
    *page = gpu->gpu->DevicePage(prefix->prefix, position, slice, group);
    return absl::OkStatus();
  });
}

kvf_status kvf_gpu_publication_page(const kvf_gpu* gpu,
                                    kvf_publication* publication,
                                    uint32_t position, uint32_t slice,
                                    void** page) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(gpu, "gpu"));
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    KVFERRY_RETURN_IF_ERROR(CheckSameClient(*gpu, *publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(CheckPositions(*publication, position, 1));
    KVFERRY_RETURN_IF_ERROR(CheckSlice(*publication, position, slice));
    *page = gpu->gpu->DevicePage(&publication->publication, position, slice);
    return absl::OkStatus();
  });
}

}  // extern "C"
