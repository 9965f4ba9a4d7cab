#ifndef KVFERRY_DAEMON_MEMORY_READ_ONLY_VIEW_H_
#define KVFERRY_DAEMON_MEMORY_READ_ONLY_VIEW_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"

namespace kvferry::memory {

// Opens files of the node's directory for clients, so that read-only means
// read-only.
//
// A descriptor opened O_RDONLY alone does not: its holder may open
// /proc/self/fd/N again for writing, and as root or as the file's owner will
// succeed. So the descriptors come from a detached clone of the directory's
// mount that is itself read-only: opening again, chmod and truncation then
// answer EROFS, to root as well. That holds against everybody who cannot
// reach the directory by its path.
//
// Making such a clone takes CAP_SYS_ADMIN; without, a child does it in a user
// namespace of its own and passes the mount back. Where neither is permitted
// descriptors are plain O_RDONLY, and note() says so and why.
class ReadOnlyView {
 public:
  // `directory` exists and has no mounts below it. Call it before there are
  // threads: it may fork.
  // Errors  as ErrnoStatus  the directory cannot be opened
  static absl::StatusOr<ReadOnlyView> Make(const std::string& directory);

  // Errors  as ErrnoStatus
  absl::StatusOr<UniqueFd> Open(const std::string& name) const;

  const std::string& directory() const { return directory_; }
  // Whether descriptors withstand being opened again by root or the owner.
  bool enforced() const { return enforced_; }
  // For operators: how descriptors are made read-only.
  const std::string& note() const { return note_; }

  // The two ways, for tests. The mount's descriptor, or kPermissionDenied and
  // the like.
  static absl::StatusOr<UniqueFd> CloneMount(const std::string& directory);
  static absl::StatusOr<UniqueFd> CloneMountInUserNamespace(
      const std::string& directory);

 private:
  std::string directory_;
  UniqueFd root_;
  bool enforced_ = false;
  std::string note_;
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_READ_ONLY_VIEW_H_
