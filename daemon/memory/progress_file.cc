#include "daemon/memory/progress_file.h"

#include <fcntl.h>

#include <atomic>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/memory/client_file_header.h"
#include "daemon/memory/sealed_memfd.h"

namespace kvferry::memory {
namespace {

// The client writes by the descriptor that it is given and opens nothing again.
constexpr mode_t kMode = 0600;

}  // namespace

absl::StatusOr<ProgressFile> ProgressFile::Make(uint16_t session,
                                                uint64_t epoch) {
  ProgressFile file;
  KVFERRY_ASSIGN_OR_RETURN(
      file.client_fd_,
      MakeSealedMemfd(absl::StrCat("kvferry-progress.", session),
                      protocol::kProgressFileBytes, kMode,
                      /*memfd_flags=*/0, FurtherSeals::kAllowed));
  // Header and records get their pages now: the daemon reads records in every
  // tick. Hand-over data are large and rare, so their pages come with the
  // client's first write.
  KVFERRY_RETURN_IF_ERROR(WriteClientFileHeader<protocol::ProgressHeader>(
      file.client_fd_.get(), protocol::kHandOverOffset,
      protocol::kProgressMagic, session, epoch));
  KVFERRY_ASSIGN_OR_RETURN(file.reader_fd_,
                           OpenAgain(file.client_fd_.get(), O_RDONLY));
  KVFERRY_ASSIGN_OR_RETURN(
      file.mapping_,
      Mapping::Map(file.reader_fd_.get(), protocol::kProgressFileBytes,
                   Mapping::Access::kReadOnly));
  return file;
}

bool ProgressFile::sealed() const {
  const int seals = ::fcntl(reader_fd_.get(), F_GET_SEALS);
  return seals >= 0 && (seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE)) != 0;
}

}  // namespace kvferry::memory
