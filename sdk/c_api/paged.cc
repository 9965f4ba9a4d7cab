// An engine's paged memory, and every copy between it and pages.

#include "kvferry/paged.h"

#include <cstdint>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/copy.h"
#include "kvferry/kvferry.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/pull_options.h"
#include "sdk/c_api/sized_structs.h"
#include "sdk/c_api/spec_conversion.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

static_assert(KVF_NO_BLOCK == kNoEngineBlock);

absl::StatusOr<PagedMemory> ToPagedMemory(const kvf_paged_options& read) {
  KVFERRY_RETURN_IF_ERROR(
      CheckFlags(read.flags, KVF_PAGED_DEVICE, "kvf_paged_options.flags"));
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(read.reserved, "kvf_paged_options.reserved"));
  KVFERRY_ASSIGN_OR_RETURN(const GroupSpec group, ToGroupSpec(read.group));
  KVFERRY_RETURN_IF_ERROR(
      NotNull(read.layers, read.layer_count, "kvf_paged_options.layers"));
  // Before the array is walked: its length is the caller's word.
  if (read.layer_count != group.layer_count) {
    return absl::InvalidArgumentError(
        absl::StrCat("kvf_paged_options.layer_count is ", read.layer_count,
                     ", the group has ", group.layer_count));
  }
  PagedOptions result;
  result.layers.reserve(read.layer_count);
  for (size_t i = 0; i < read.layer_count; ++i) {
    kvf_paged_layer layer = {};
    KVFERRY_RETURN_IF_ERROR(ReadElementOf(read.layers, i, &layer));
    result.layers.push_back({.base = static_cast<std::byte*>(layer.base),
                             .kv_stride = layer.kv_stride,
                             .block_stride = layer.block_stride,
                             .token_stride = layer.token_stride,
                             .head_stride = layer.head_stride});
  }
  result.block_count = read.block_count;
  result.slice_first = read.slice_first;
  result.slice_count = read.slice_count;
  if (read.sub_blocks != 0) result.sub_blocks = read.sub_blocks;
  return PagedMemory::Create(group, std::move(result));
}

// Memory that the processor can copy from and to.
// Errors  kInvalidArgument     null
//         kFailedPrecondition  a device's
absl::Status CheckHost(const kvf_paged* paged) {
  KVFERRY_RETURN_IF_ERROR(NotNull(paged, "paged"));
  if (!paged->device) [[likely]]
    return absl::OkStatus();
  return absl::FailedPreconditionError(
      "paged: memory of a device (KVF_PAGED_DEVICE); see kvferry_gpu.h");
}

}  // namespace

extern "C" {

kvf_status kvf_paged_create(const kvf_paged_options* options,
                            kvf_paged** paged) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(paged, "paged"));
    *paged = nullptr;
    kvf_paged_options read = {};
    KVFERRY_RETURN_IF_ERROR(ReadSized(options, &read));
    KVFERRY_ASSIGN_OR_RETURN(PagedMemory memory, ToPagedMemory(read));
    *paged = new kvf_paged{.memory = std::move(memory),
                           .device = (read.flags & KVF_PAGED_DEVICE) != 0};
    return absl::OkStatus();
  });
}

void kvf_paged_destroy(kvf_paged* paged) { delete paged; }

kvf_status kvf_paged_gather(const kvf_paged* paged, uint64_t engine_block,
                            uint32_t slice, void* page, size_t page_bytes,
                            uint32_t valid_tokens) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(CheckHost(paged));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    return paged->memory.Gather(engine_block, slice,
                                {static_cast<std::byte*>(page), page_bytes},
                                valid_tokens);
  });
}

kvf_status kvf_paged_scatter(const kvf_paged* paged, uint64_t engine_block,
                             uint32_t slice, const void* page,
                             size_t page_bytes, uint32_t valid_tokens) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(CheckHost(paged));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    return paged->memory.Scatter(
        engine_block, slice, {static_cast<const std::byte*>(page), page_bytes},
        valid_tokens);
  });
}

kvf_status kvf_prefix_copy_to(const kvf_prefix* prefix, uint32_t group,
                              uint32_t first, size_t count,
                              const kvf_paged* paged,
                              const uint64_t* engine_blocks,
                              uint32_t last_tokens) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(prefix, "prefix"));
    KVFERRY_RETURN_IF_ERROR(CheckHost(paged));
    KVFERRY_RETURN_IF_ERROR(NotNull(engine_blocks, count, "engine_blocks"));
    return prefix->prefix.CopyTo(paged->memory, group, first,
                                 {engine_blocks, count}, last_tokens);
  });
}

kvf_status kvf_publication_fill(kvf_publication* publication, uint32_t first,
                                size_t count, const kvf_paged* paged,
                                const uint64_t* engine_blocks,
                                uint32_t last_tokens, uint32_t* filled) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(CheckHost(paged));
    KVFERRY_RETURN_IF_ERROR(NotNull(engine_blocks, count, "engine_blocks"));
    KVFERRY_ASSIGN_OR_RETURN(
        const uint32_t blocks,
        publication->publication.Fill(first, paged->memory,
                                      {engine_blocks, count}, last_tokens));
    if (filled != nullptr) *filled = blocks;
    return absl::OkStatus();
  });
}

kvf_status kvf_stream_pull_to_paged(kvf_stream* stream,
                                    const kvf_pull_options* options,
                                    const kvf_paged* paged,
                                    const uint64_t* engine_blocks,
                                    int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    KVFERRY_RETURN_IF_ERROR(CheckHost(paged));
    const uint32_t count = stream->stream.key_count();
    KVFERRY_RETURN_IF_ERROR(NotNull(engine_blocks, count, "engine_blocks"));
    KVFERRY_ASSIGN_OR_RETURN(const PrefixStream::PullOptions pull,
                             ToPullOptions(options));
    return stream->stream.PullTo(pull, paged->memory, {engine_blocks, count},
                                 Deadline(timeout_ns));
  });
}

void kvf_copy(void* target, const void* source, size_t bytes) {
  if (target != nullptr && source != nullptr) CopyBytes(target, source, bytes);
}

}  // extern "C"
