#ifndef KVFERRY_DAEMON_MEMORY_CLIENT_FILE_HEADER_H_
#define KVFERRY_DAEMON_MEMORY_CLIENT_FILE_HEADER_H_

#include <atomic>
#include <cstdint>

#include "absl/status/status.h"
#include "base/mapping.h"
#include "base/status.h"
#include "daemon/memory/populate.h"
#include "protocol/shm_layout.h"

namespace kvferry::memory {

// Writes the header of a memory file that a client will write, and gives the
// file's first `bytes` their pages. Never from huge pages: a hole punched by
// the client could not be filled again, and reading it would be SIGBUS here.
template <typename Header>
absl::Status WriteClientFileHeader(int fd, uint64_t bytes, uint64_t magic,
                                   uint16_t session, uint64_t epoch) {
  KVFERRY_ASSIGN_OR_RETURN(
      const Mapping mapping,
      Mapping::Map(fd, bytes, Mapping::Access::kReadWrite));
  KVFERRY_RETURN_IF_ERROR(Populate(mapping.data(), bytes));
  auto* header = mapping.At<Header>(0);
  header->magic = magic;
  header->session = session;
  header->epoch = epoch;
  header->layout_version.store(protocol::kLayoutVersion,
                               std::memory_order_release);
  return absl::OkStatus();
}

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_CLIENT_FILE_HEADER_H_
