#ifndef KVFERRY_DAEMON_MEMORY_NODE_DIRECTORY_H_
#define KVFERRY_DAEMON_MEMORY_NODE_DIRECTORY_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace kvferry::memory {

// The directory of a node's daemon, 0700, locked while this object lives:
//
//   lock     the pid of the daemon that holds it
//   epoch    of the last daemon; each has a larger one than all before it
//   secret   32 bytes that authenticate tickets
//   node     16 bytes that name this node
//   index.N  state.N  session.N   files that clients map (SharedFile)
class NodeDirectory {
 public:
  // Makes what is missing and takes the lock.
  // Errors  kAlreadyExists      another daemon has it; its pid is named
  //         kPermissionDenied   the directory is somebody else's
  //         as ErrnoStatus
  static absl::StatusOr<NodeDirectory> Open(const std::string& path,
                                            absl::Time now);

  const std::string& path() const { return path_; }
  uint64_t epoch() const { return epoch_; }
  const std::array<std::byte, 32>& secret() const { return secret_; }
  const std::array<std::byte, 16>& node_id() const { return node_id_; }

  // Unlinks the shared files of an earlier daemon; returns how many. Never
  // truncates: clients of then still have them mapped.
  int RemoveSharedFiles();

 private:
  absl::Status Create();
  absl::Status Lock();
  absl::Status StartEpoch(absl::Time now);
  absl::Status Identify(const char* name, std::byte* bytes, size_t count);

  std::string path_;
  UniqueFd lock_;
  uint64_t epoch_ = 0;
  std::array<std::byte, 32> secret_{};
  std::array<std::byte, 16> node_id_{};
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_NODE_DIRECTORY_H_
