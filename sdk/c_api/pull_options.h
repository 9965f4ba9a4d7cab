#ifndef KVFERRY_SDK_C_API_PULL_OPTIONS_H_
#define KVFERRY_SDK_C_API_PULL_OPTIONS_H_

#include "absl/status/statusor.h"
#include "kvferry/kvferry.h"
#include "kvferry/stream.h"

namespace kvferry::c_api {

// Null: the defaults.
absl::StatusOr<PrefixStream::PullOptions> ToPullOptions(
    const kvf_pull_options* options);

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_PULL_OPTIONS_H_
