#ifndef KVFERRY_DAEMON_MEMORY_SEALED_MEMFD_H_
#define KVFERRY_DAEMON_MEMORY_SEALED_MEMFD_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace kvferry::memory {

// Whether somebody who may write a memory file may add seals to it.
enum class FurtherSeals { kForbidden, kAllowed };

// Makes a memory file of a fixed size (sealed SHRINK and GROW, so that nobody
// can truncate it under a reader, which would be SIGBUS there).
// `memfd_flags` go beside MFD_CLOEXEC and MFD_ALLOW_SEALING.
// Errors  as ErrnoStatus
absl::StatusOr<UniqueFd> MakeSealedMemfd(
    const std::string& name, uint64_t bytes, mode_t mode,
    unsigned memfd_flags = 0,
    FurtherSeals further_seals = FurtherSeals::kForbidden);

// Another open file description of the same file. `flags` as for open.
// Errors  as ErrnoStatus
absl::StatusOr<UniqueFd> OpenAgain(int fd, int flags);

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_SEALED_MEMFD_H_
