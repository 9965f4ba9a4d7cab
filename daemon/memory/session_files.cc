#include "daemon/memory/session_files.h"

#include <fcntl.h>

#include <atomic>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/memory/client_file_header.h"
#include "daemon/memory/sealed_memfd.h"

namespace kvferry::memory {
namespace {

// Anybody who can open the client's half has it already: it has no name, and
// /proc/PID/fd of daemon and client are closed to others. A client of another
// user opens it again through its own /proc/self/fd to lock it.
constexpr mode_t kClientFileMode = 0666;

}  // namespace

absl::StatusOr<SessionFiles> SessionFiles::Make(const ReadOnlyView& view,
                                                uint16_t session,
                                                uint64_t epoch,
                                                uint32_t block_capacity) {
  SessionFiles files;
  KVFERRY_ASSIGN_OR_RETURN(
      files.daemon_, SharedFile::Make(view, absl::StrCat("session.", session),
                                      protocol::kSessionDaemonFileBytes));
  protocol::SessionDaemonHeader* header = files.daemon_header();
  header->magic = protocol::kDaemonMagic;
  header->session = session;
  header->epoch = epoch;
  header->layout_version.store(protocol::kLayoutVersion,
                               std::memory_order_release);

  const std::string name = absl::StrCat("kvferry-client.", session);
  const uint64_t bytes = protocol::SessionClientFileBytes(block_capacity);
  KVFERRY_ASSIGN_OR_RETURN(files.client_fd_,
                           MakeSealedMemfd(name, bytes, kClientFileMode));
  KVFERRY_RETURN_IF_ERROR(WriteClientFileHeader<protocol::SessionClientHeader>(
      files.client_fd_.get(), bytes, protocol::kClientMagic, session, epoch));
  KVFERRY_ASSIGN_OR_RETURN(
      files.client_,
      Mapping::Map(files.client_fd_.get(), bytes, Mapping::Access::kReadOnly));
  KVFERRY_ASSIGN_OR_RETURN(files.client_for_peer_,
                           OpenAgain(files.client_fd_.get(), O_RDWR));
  KVFERRY_ASSIGN_OR_RETURN(files.progress_, ProgressFile::Make(session, epoch));
  return files;
}

bool SessionFiles::client_holds_lock() const {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  return ::fcntl(client_fd_.get(), F_OFD_GETLK, &lock) == 0 &&
         lock.l_type != F_UNLCK;
}

}  // namespace kvferry::memory
