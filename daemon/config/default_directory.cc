#include "daemon/config/default_directory.h"

#include <linux/magic.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace kvferry::config {

bool IsOnTmpfs(const std::string& path) {
  std::filesystem::path ancestor(path);
  struct statfs file_system {};
  while (::statfs(ancestor.c_str(), &file_system) != 0) {
    if (!ancestor.has_relative_path()) return false;
    ancestor = ancestor.parent_path();
  }
  return file_system.f_type == TMPFS_MAGIC;
}

std::string DefaultDirectory(const std::string& socket) {
  absl::string_view stem = socket;
  absl::ConsumeSuffix(&stem, ".sock");
  std::string beside = absl::StrCat(stem, ".d");
  if (IsOnTmpfs(beside) || !IsOnTmpfs("/dev/shm")) return beside;
  return absl::StrCat("/dev/shm/kvferry-", ::geteuid());
}

}  // namespace kvferry::config
