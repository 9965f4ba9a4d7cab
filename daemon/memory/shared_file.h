#ifndef KVFERRY_DAEMON_MEMORY_SHARED_FILE_H_
#define KVFERRY_DAEMON_MEMORY_SHARED_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "daemon/memory/read_only_view.h"

namespace kvferry::memory {

// A zeroed file of the node's directory that the daemon writes and clients
// read: index, state, a session's daemon half.
//
// Its pages are there from the start (tmpfs that runs out of space later would
// be SIGBUS in the daemon). The name goes with the object; whoever has the
// file mapped keeps what it saw last.
class SharedFile {
 public:
  // Errors  kResourceExhausted  the file system is full
  //         as ErrnoStatus      anything else; nothing is left behind
  static absl::StatusOr<SharedFile> Make(const ReadOnlyView& view,
                                         const std::string& name,
                                         uint64_t bytes);
  SharedFile() = default;
  SharedFile(SharedFile&& other) noexcept;
  SharedFile& operator=(SharedFile&& other) noexcept;
  ~SharedFile();

  const Mapping& mapping() const { return mapping_; }
  // For clients; see ReadOnlyView.
  int reader_fd() const { return reader_.get(); }

 private:
  std::string path_;
  Mapping mapping_;
  UniqueFd reader_;
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_SHARED_FILE_H_
