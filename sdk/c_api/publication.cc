// Writing blocks.

#include <cstdint>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "kvferry/kvferry.h"
#include "kvferry/publish.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/positions.h"
#include "sdk/c_api/sized_structs.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

static_assert(KVF_BLOCK_WRITING == static_cast<int>(BlockOutcome::kWriting));
static_assert(KVF_BLOCK_COMMITTED ==
              static_cast<int>(BlockOutcome::kCommitted));
static_assert(KVF_BLOCK_EXISTS == static_cast<int>(BlockOutcome::kExists));
static_assert(KVF_BLOCK_IN_FLIGHT == static_cast<int>(BlockOutcome::kInFlight));
static_assert(KVF_BLOCK_NO_SPACE == static_cast<int>(BlockOutcome::kNoSpace));
static_assert(KVF_BLOCK_VOID == static_cast<int>(BlockOutcome::kVoid));
static_assert(KVF_BLOCK_STANDBY == static_cast<int>(BlockOutcome::kStandby));

static_assert(KVF_RESIDENCE_HOST == static_cast<int>(BlockResidence::kHost));
static_assert(KVF_RESIDENCE_GPU == static_cast<int>(BlockResidence::kGpu));

absl::StatusOr<PublicationOptions> ToPublicationOptions(
    const kvf_publication_options* options) {
  kvf_publication_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(CheckFlags(read.flags, KVF_PUBLISH_NO_STANDBY,
                                     "kvf_publication_options.flags"));
  KVFERRY_RETURN_IF_ERROR(CheckEnumerator(read.residence, KVF_RESIDENCE_GPU,
                                          "kvf_publication_options.residence"));
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(read.reserved, "kvf_publication_options.reserved"));
  PublicationOptions result;
  result.engine_instance = read.engine_instance;
  result.publication = read.publication;
  result.slice_first = read.slice_first;
  result.slice_count = read.slice_count;
  if (read.stall_timeout_ns != 0) {
    result.stall_timeout = absl::Nanoseconds(read.stall_timeout_ns);
  }
  result.standby = (read.flags & KVF_PUBLISH_NO_STANDBY) == 0;
  if (read.residence == KVF_RESIDENCE_GPU) {
    result.residence = BlockResidence::kGpu;
  }
  return result;
}

}  // namespace

extern "C" {

kvf_status kvf_publication_open(kvf_client* client,
                                const kvf_publication_options* options,
                                kvf_publication** publication) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(publication, "publication"));
    *publication = nullptr;
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_ASSIGN_OR_RETURN(const PublicationOptions open,
                             ToPublicationOptions(options));
    KVFERRY_ASSIGN_OR_RETURN(Publication opened,
                             client->shared->client->OpenPublication(open));
    *publication = new kvf_publication{.shared = client->shared,
                                       .publication = std::move(opened),
                                       .slice_first = open.slice_first,
                                       .slice_count = open.slice_count,
                                       .runs = {},
                                       .guard = {}};
    return absl::OkStatus();
  });
}

void kvf_publication_destroy(kvf_publication* publication) {
  delete publication;
}

kvf_status kvf_publication_begin(kvf_publication* publication, uint32_t group,
                                 const kvf_key* parent, const kvf_key* keys,
                                 size_t key_count, uint32_t tail_tokens,
                                 int64_t timeout_ns, uint32_t* first) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(NotNull(keys, key_count, "keys"));
    KVFERRY_RETURN_IF_ERROR(NotNull(first, "first"));
    // Before there is anything that a failure here would have to undo.
    publication->runs.reserve(publication->runs.size() + 1);
    KVFERRY_ASSIGN_OR_RETURN(
        const uint32_t begun,
        publication->publication.BeginWithTail(
            group, KeyOrNone(parent), KeySpan(keys, key_count), tail_tokens,
            Deadline(timeout_ns)));
    if (publication->runs.empty() || publication->runs.back().group != group) {
      publication->runs.push_back({.first = begun, .group = group});
    }
    *first = begun;
    return absl::OkStatus();
  });
}

uint32_t kvf_publication_size(const kvf_publication* publication) {
  return IsUsable(publication) ? publication->publication.size() : 0;
}

kvf_status kvf_publication_outcomes(kvf_publication* publication,
                                    uint32_t first, size_t count,
                                    uint8_t* outcomes) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(NotNull(outcomes, count, "outcomes"));
    KVFERRY_RETURN_IF_ERROR(CheckPositions(*publication, first, count));
    for (size_t i = 0; i < count; ++i) {
      outcomes[i] = static_cast<uint8_t>(
          publication->publication.outcome(first + static_cast<uint32_t>(i)));
    }
    return absl::OkStatus();
  });
}

uint32_t kvf_publication_residence(kvf_publication* publication,
                                   uint32_t position) {
  return AnswerOr(uint32_t{KVF_RESIDENCE_NONE}, [&]() -> uint32_t {
    if (!IsUsable(publication) ||
        !CheckPositions(*publication, position, 1).ok()) {
      return KVF_RESIDENCE_NONE;
    }
    return static_cast<uint32_t>(publication->publication.residence(position));
  });
}

kvf_status kvf_publication_page(kvf_publication* publication, uint32_t position,
                                uint32_t slice, void** page,
                                size_t* page_bytes) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(NotNull(page, "page"));
    KVFERRY_RETURN_IF_ERROR(NotNull(page_bytes, "page_bytes"));
    KVFERRY_RETURN_IF_ERROR(CheckPositions(*publication, position, 1));
    KVFERRY_RETURN_IF_ERROR(CheckSlice(*publication, position, slice));
    const std::span<std::byte> bytes =
        publication->publication.page(position, slice);
    *page = bytes.data();
    *page_bytes = bytes.size();
    return absl::OkStatus();
  });
}

kvf_status kvf_publication_commit_layers(kvf_publication* publication,
                                         uint32_t first, uint32_t count,
                                         uint32_t layers) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    return publication->publication.CommitLayers(first, count, layers);
  });
}

kvf_status kvf_publication_commit(kvf_publication* publication, uint32_t first,
                                  uint32_t count) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    return publication->publication.Commit(first, count);
  });
}

kvf_status kvf_publication_commit_and_wait(kvf_publication* publication,
                                           uint32_t first, uint32_t count,
                                           int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    return publication->publication.CommitAndWait(first, count,
                                                  Deadline(timeout_ns));
  });
}

kvf_status kvf_publication_set_hand_over(kvf_publication* publication,
                                         kvf_bytes hand_over) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    KVFERRY_RETURN_IF_ERROR(
        NotNull(hand_over.data, hand_over.length, "hand_over.data"));
    return publication->publication.SetHandOver(TextOf(hand_over));
  });
}

void kvf_publication_abort(kvf_publication* publication) {
  if (IsUsable(publication)) publication->publication.Abort();
}

kvf_status kvf_publication_close(kvf_publication* publication,
                                 int64_t timeout_ns) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(publication, "publication"));
    return publication->publication.Close(Deadline(timeout_ns));
  });
}

kvf_status kvf_publish(kvf_client* client, uint32_t group,
                       const kvf_key* parent, const kvf_key* keys,
                       const void* const* sources, size_t count,
                       int64_t timeout_ns, uint32_t* visible) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(NotNull(keys, count, "keys"));
    KVFERRY_RETURN_IF_ERROR(NotNull(sources, count, "sources"));
    for (size_t i = 0; i < count; ++i) {
      if (sources[i] == nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("sources[", i, "] is null"));
      }
    }
    KVFERRY_ASSIGN_OR_RETURN(
        const uint32_t published,
        client->shared->client->Publish(
            group, KeyOrNone(parent), KeySpan(keys, count),
            {reinterpret_cast<const std::byte* const*>(sources), count},
            Deadline(timeout_ns)));
    if (visible != nullptr) *visible = published;
    return absl::OkStatus();
  });
}

}  // extern "C"
