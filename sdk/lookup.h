#ifndef KVFERRY_SDK_LOOKUP_H_
#define KVFERRY_SDK_LOOKUP_H_

#include <span>

#include "absl/status/statusor.h"
#include "kvferry/lookup.h"
#include "kvferry/match.h"
#include "sdk/attachment.h"

namespace kvferry::sdk {

// Client::Lookup in one attachment: the boundary of what is ready, and that of
// what is ready or being written. Pins nothing, counts nothing.
//
// Errors   kInvalidArgument, as Client::Match
// Threads  any number
absl::StatusOr<LookupResult> LookupGroups(Attachment* attachment,
                                          std::span<const GroupKeys> groups);

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_LOOKUP_H_
