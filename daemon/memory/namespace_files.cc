#include "daemon/memory/namespace_files.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "protocol/shm_layout.h"

namespace kvferry::memory {

absl::StatusOr<NamespaceFiles> NamespaceFiles::Make(
    const ReadOnlyView& view, uint64_t namespace_id,
    const protocol::Geometry& geometry) {
  NamespaceFiles files;
  KVFERRY_ASSIGN_OR_RETURN(
      files.index,
      SharedFile::Make(view, absl::StrCat("index.", namespace_id),
                       protocol::IndexFileBytes(geometry.bucket_count)));
  KVFERRY_ASSIGN_OR_RETURN(
      files.state,
      SharedFile::Make(view, absl::StrCat("state.", namespace_id),
                       protocol::StateFileBytes(geometry.block_capacity)));
  return files;
}

}  // namespace kvferry::memory
