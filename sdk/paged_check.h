#ifndef KVFERRY_SDK_PAGED_CHECK_H_
#define KVFERRY_SDK_PAGED_CHECK_H_

#include "absl/status/status.h"
#include "kvferry/paged.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// Whether `memory` describes pages of a namespace's group, whose geometry the
// index has: pages of one size but another order would mix up K and V unseen.
// Errors  kInvalidArgument  names both
absl::Status CheckSameGeometry(const PagedMemory& memory, uint32_t group,
                               const protocol::GroupRecord& record);

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PAGED_CHECK_H_
