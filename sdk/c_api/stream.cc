// Following what is being written.

#include "kvferry/stream.h"

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "kvferry/kvferry.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/pull_options.h"
#include "sdk/c_api/sized_structs.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

absl::StatusOr<StreamOptions> ToStreamOptions(
    const kvf_stream_options* options) {
  kvf_stream_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(CheckFlags(read.flags, KVF_STREAM_READY_ONLY,
                                     "kvf_stream_options.flags"));
  StreamOptions result;
  result.group = read.group;
  result.tail_tokens = read.tail_tokens;
  result.include_in_flight = (read.flags & KVF_STREAM_READY_ONLY) == 0;
  result.publication = {.slot = read.hint_slot,
                        .generation = read.hint_generation};
  return result;
}

// Two pointers, which std::function keeps without an allocation.
PrefixStream::CopyOut ToCopyOut(kvf_copy_out copy, void* context) {
  return [copy, context](uint32_t block, uint32_t slice, uint32_t layer,
                         uint32_t layers, std::span<const std::byte> bytes) {
    copy(context, block, slice, layer, layers, ToC(bytes));
  };
}

// PullSome has no status of its own.
absl::Status CheckSlices(const kvf_stream& stream,
                         const PrefixStream::PullOptions& options) {
  const uint32_t slices = stream.shared->spec.groups[stream.group].slice_count;
  if (options.slice_first < slices &&
      options.slice_count <= slices - options.slice_first) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("slices [", options.slice_first, ", +", options.slice_count,
                   "), group ", stream.group, " has ", slices));
}

}  // namespace

extern "C" {

kvf_status kvf_stream_create(kvf_stream** stream) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(stream, "stream"));
    *stream = nullptr;
    *stream = new kvf_stream();
    return absl::OkStatus();
  });
}

void kvf_stream_destroy(kvf_stream* stream) { delete stream; }

kvf_status kvf_match_stream(kvf_client* client, const kvf_key* keys,
                            size_t key_count, const kvf_stream_options* options,
                            kvf_stream* stream) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    KVFERRY_RETURN_IF_ERROR(NotNull(keys, key_count, "keys"));
    KVFERRY_ASSIGN_OR_RETURN(const StreamOptions match,
                             ToStreamOptions(options));
    if (stream->shared != client->shared) {
      // Before the client that it pins with: its last handle may be this one.
      stream->stream = PrefixStream();
      stream->shared = client->shared;
    }
    KVFERRY_RETURN_IF_ERROR(client->shared->client->Match(
        KeySpan(keys, key_count), match, &stream->stream));
    stream->group = match.group;
    return absl::OkStatus();
  });
}

kvf_status kvf_stream_get_state(const kvf_stream* stream,
                                kvf_stream_state* state) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(state));
    const PrefixStream& from = stream->stream;
    kvf_stream_state result = {};
    result.ok_tokens = from.ok_tokens();
    result.ok_blocks = from.ok_blocks();
    result.layered_end = from.layered_end();
    result.ok_layers = from.ok_layers();
    result.block_count = from.block_count();
    result.key_count = from.key_count();
    result.copied_blocks = from.copied_blocks();
    result.copied_layers = from.copied_layers();
    result.done = from.done() ? 1 : 0;
    WriteSized(result, state);
    return absl::OkStatus();
  });
}

kvf_status kvf_stream_status(const kvf_stream* stream) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    return stream->stream.status();
  });
}

kvf_status kvf_stream_page(const kvf_stream* stream, uint32_t block,
                           uint32_t slice, kvf_bytes* page) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    *page = ToC(stream->stream.page(block, slice));
    return absl::OkStatus();
  });
}

int kvf_stream_poll(kvf_stream* stream) {
  return AnswerOr(0, [stream] {
    return IsUsable(stream) && stream->stream.Poll() ? 1 : 0;
  });
}

kvf_status kvf_stream_wait_chunk(kvf_stream* stream, uint32_t blocks,
                                 int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    return stream->stream.WaitChunk(blocks, Deadline(timeout_ns));
  });
}

kvf_status kvf_stream_wait_layer(kvf_stream* stream, uint32_t blocks,
                                 uint32_t layers, int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    return stream->stream.WaitLayer(blocks, layers, Deadline(timeout_ns));
  });
}

kvf_status kvf_stream_wait_committed(kvf_stream* stream, int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    return stream->stream.WaitCommitted(Deadline(timeout_ns));
  });
}

kvf_status kvf_stream_wait_change(kvf_stream* stream, int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    return stream->stream.WaitChange(Deadline(timeout_ns));
  });
}

kvf_status kvf_stream_event_fd(kvf_stream* stream, int* fd) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    KVFERRY_RETURN_IF_ERROR(NotNull(fd, "fd"));
    KVFERRY_ASSIGN_OR_RETURN(*fd, stream->stream.event_fd());
    return absl::OkStatus();
  });
}

uint32_t kvf_stream_confirm(kvf_stream* stream, uint32_t blocks) {
  return AnswerOr(uint32_t{0}, [&] {
    return IsUsable(stream) ? stream->stream.Confirm(blocks) : 0;
  });
}

kvf_status kvf_stream_pull_some(kvf_stream* stream,
                                const kvf_pull_options* options,
                                kvf_copy_out copy, void* context, int* copied) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    if (copy == nullptr) return NullError("copy");
    KVFERRY_ASSIGN_OR_RETURN(const PrefixStream::PullOptions pull,
                             ToPullOptions(options));
    if (stream->shared != nullptr) {
      KVFERRY_RETURN_IF_ERROR(CheckSlices(*stream, pull));
    }
    const bool any = stream->stream.PullSome(pull, ToCopyOut(copy, context));
    if (copied != nullptr) *copied = any ? 1 : 0;
    return absl::OkStatus();
  });
}

kvf_status kvf_stream_pull_to(kvf_stream* stream,
                              const kvf_pull_options* options,
                              kvf_copy_out copy, void* context,
                              int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    if (copy == nullptr) return NullError("copy");
    KVFERRY_ASSIGN_OR_RETURN(const PrefixStream::PullOptions pull,
                             ToPullOptions(options));
    return stream->stream.PullTo(pull, ToCopyOut(copy, context),
                                 Deadline(timeout_ns));
  });
}

kvf_status kvf_stream_hand_over(const kvf_stream* stream, void* data,
                                size_t capacity, size_t* length) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(stream, "stream"));
    KVFERRY_RETURN_IF_ERROR(NotNull(data, capacity, "data"));
    KVFERRY_RETURN_IF_ERROR(NotNull(length, "length"));
    KVFERRY_ASSIGN_OR_RETURN(const std::string bytes,
                             stream->stream.hand_over());
    *length = bytes.size();
    if (bytes.size() > capacity) {
      return absl::OutOfRangeError(absl::StrCat("capacity is ", capacity,
                                                " bytes, the hand-over has ",
                                                bytes.size()));
    }
    if (!bytes.empty()) std::memcpy(data, bytes.data(), bytes.size());
    return absl::OkStatus();
  });
}

void kvf_stream_release(kvf_stream* stream) {
  if (IsUsable(stream)) stream->stream.Release();
}

}  // extern "C"
