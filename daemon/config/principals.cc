#include "daemon/config/principals.h"

#include <grp.h>
#include <pwd.h>

#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace kvferry::config {
namespace {

constexpr size_t kLookupBytes = 16 * 1024;

absl::StatusOr<uid_t> UserId(const std::string& name) {
  uid_t uid = 0;
  if (absl::SimpleAtoi(name, &uid)) return uid;
  std::vector<char> buffer(kLookupBytes);
  passwd entry{};
  passwd* found = nullptr;
  ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no user `", name, "` on this machine"));
  }
  return found->pw_uid;
}

absl::StatusOr<gid_t> GroupId(const std::string& name) {
  gid_t gid = 0;
  if (absl::SimpleAtoi(name, &gid)) return gid;
  std::vector<char> buffer(kLookupBytes);
  group entry{};
  group* found = nullptr;
  ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("no group `", name, "` on this machine"));
  }
  return found->gr_gid;
}

}  // namespace

absl::StatusOr<AccessList> ParsePrincipals(absl::string_view text) {
  AccessList list;
  for (absl::string_view part :
       absl::StrSplit(text, ',', absl::SkipWhitespace())) {
    part = absl::StripAsciiWhitespace(part);
    if (part == "*") {
      list.everybody = true;
    } else if (absl::ConsumePrefix(&part, "@")) {
      KVFERRY_ASSIGN_OR_RETURN(const gid_t gid, GroupId(std::string(part)));
      list.groups.push_back(gid);
    } else {
      KVFERRY_ASSIGN_OR_RETURN(const uid_t uid, UserId(std::string(part)));
      list.users.push_back(uid);
    }
  }
  return list;
}

}  // namespace kvferry::config
