#ifndef KVFERRY_SDK_C_API_POSITIONS_H_
#define KVFERRY_SDK_C_API_POSITIONS_H_

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "sdk/c_api/handles.h"

// What the C++ calls require of a publication's positions and slices, checked:
// a caller in another language has no debugger on our side.
namespace kvferry::c_api {

// Errors  kOutOfRange  beyond the publication's size
inline absl::Status CheckPositions(const kvf_publication& publication,
                                   uint64_t first, uint64_t count) {
  const uint64_t size = publication.publication.size();
  if (first <= size && count <= size - first) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("positions [", first, ", +", count,
                                            "), the publication has ", size));
}

// The group of the last run that begins at or before `position`.
// REQUIRES  position < size()
inline uint32_t GroupAt(const kvf_publication& publication, uint32_t position) {
  const auto after = std::upper_bound(
      publication.runs.begin(), publication.runs.end(), position,
      [](uint32_t at, const kvf_publication::Run& run) {
        return at < run.first;
      });
  return std::prev(after)->group;
}

// REQUIRES  position < size()
// Errors    kOutOfRange  this publication does not write `slice` of a position
inline absl::Status CheckSlice(const kvf_publication& publication,
                               uint32_t position, uint32_t slice) {
  const uint32_t group = GroupAt(publication, position);
  const uint32_t slices = publication.shared->spec.groups[group].slice_count;
  // A group with one slice is written whole by whoever begins it.
  const bool ours =
      slices == 1 ||
      (slice >= publication.slice_first &&
       (publication.slice_count == 0 ||
        slice - publication.slice_first < publication.slice_count));
  if (slice < slices && ours) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(
      "slice ", slice, ", group ", group, " has ", slices,
      ", of which the publication writes [", publication.slice_first, ", +",
      publication.slice_count, ") (+0: the rest)"));
}

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_POSITIONS_H_
