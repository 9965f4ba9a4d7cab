#ifndef KVFERRY_DAEMON_MEMORY_NAMESPACE_FILES_H_
#define KVFERRY_DAEMON_MEMORY_NAMESPACE_FILES_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "daemon/memory/read_only_view.h"
#include "daemon/memory/shared_file.h"
#include "protocol/geometry.h"

namespace kvferry::memory {

// Index and state of a namespace, zeroed; the core writes them.
struct NamespaceFiles {
  // Errors  as SharedFile::Make
  static absl::StatusOr<NamespaceFiles> Make(
      const ReadOnlyView& view, uint64_t namespace_id,
      const protocol::Geometry& geometry);

  SharedFile index;
  SharedFile state;
};

}  // namespace kvferry::memory

#endif  // KVFERRY_DAEMON_MEMORY_NAMESPACE_FILES_H_
