#ifndef KVFERRY_DAEMON_MEMORY_PROGRESS_FILE_H_
#define KVFERRY_DAEMON_MEMORY_PROGRESS_FILE_H_

#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::memory {

// A session's progress file, header written: the client tells in it how far it
// is with what it publishes, the namespace's readers and the daemon look.
//
// Life cycle  1. made: nobody but the client gets it   2. the client maps it
//             and seals it (F_SEAL_FUTURE_WRITE): that mapping is now the only
//             way by which it ever changes   3. sealed(): readers may have it
//
// Mapped read-only here. Everything in it may change at any time and say
// anything; its size stays.
class ProgressFile {
 public:
  // Errors  kResourceExhausted  no memory
  //         as ErrnoStatus
  static absl::StatusOr<ProgressFile> Make(uint16_t session, uint64_t epoch);

  const protocol::ProgressHeader* header() const {
    return mapping_.At<protocol::ProgressHeader>(0);
  }

  // Read-write, for the client alone, and gone from here once taken.
  UniqueFd TakeClientFd() { return std::move(client_fd_); }

  // Whether nothing but mappings that there are already can change it.
  bool sealed() const;
  // Read-only, for readers of the namespace, once it is sealed. Opening it
  // again for writing is of no use then, to whomever it succeeds.
  int reader_fd() const { return reader_fd_.get(); }

 private:
  UniqueFd client_fd_;
  UniqueFd reader_fd_;
  Mapping mapping_;
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_PROGRESS_FILE_H_
