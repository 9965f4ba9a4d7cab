#include "sdk/c_api/pull_options.h"

#include "base/status.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/sized_structs.h"

namespace kvferry::c_api {

absl::StatusOr<PrefixStream::PullOptions> ToPullOptions(
    const kvf_pull_options* options) {
  kvf_pull_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadOptional(options, &read));
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(read.reserved, "kvf_pull_options.reserved"));
  PrefixStream::PullOptions result;
  result.slice_first = read.slice_first;
  result.slice_count = read.slice_count;
  result.by_layer = read.whole_blocks == 0;
  return result;
}

}  // namespace kvferry::c_api
