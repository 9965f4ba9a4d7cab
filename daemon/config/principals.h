#ifndef KVFERRY_DAEMON_CONFIG_PRINCIPALS_H_
#define KVFERRY_DAEMON_CONFIG_PRINCIPALS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/config/config.h"

namespace kvferry::config {

inline constexpr char kPrincipalsSyntax[] =
    "a list of user names or ids, \"@group\" for a group, or \"*\" for "
    "everybody";

// Reads "alice,1001,@inference" (empty: the owner only). Names are looked up
// once, here.
// Errors  kInvalidArgument  no such user or group, by name
absl::StatusOr<AccessList> ParsePrincipals(absl::string_view text);

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_PRINCIPALS_H_
