// Parts of Abseil that its archives cannot give a module: Debian's address
// thread-local variables there as only an executable may (local-exec). With
// these definitions no such part is linked in, and a wheel needs no
// libabsl_*.so. They are the interface of Debian 12's Abseil, 20220623; with
// another one the link fails, by name.
//
//  - Sampling of Cords, with the lock behind it. Never called: a Cord is a
//    payload of absl::Status, of which the SDK sets none, and its own locks are
//    base/mutex.h.
//  - The number of CPUs, by which a SpinLock decides whether to spin.
#include <cstdint>
#include <limits>
#include <thread>

#include "absl/base/attributes.h"
#include "absl/base/config.h"
#include "absl/base/internal/sysinfo.h"
#include "absl/strings/internal/cordz_functions.h"
#include "absl/strings/internal/cordz_info.h"
#include "absl/synchronization/mutex.h"

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace cord_internal {

ABSL_CONST_INIT thread_local int64_t cordz_next_sample =
    std::numeric_limits<int64_t>::max();

bool cordz_should_profile_slow() {
  cordz_next_sample = std::numeric_limits<int64_t>::max();
  return false;
}

void CordzInfo::TrackCord(InlineData&, MethodIdentifier) {}
void CordzInfo::MaybeTrackCordImpl(InlineData&, const InlineData&,
                                   MethodIdentifier) {}
void CordzInfo::Untrack() {}
void CordzInfo::Lock(MethodIdentifier) {}
void CordzInfo::Unlock() {}

}  // namespace cord_internal

void Mutex::AssertHeld() const {}

namespace base_internal {

int NumCPUs() { return static_cast<int>(std::thread::hardware_concurrency()); }

}  // namespace base_internal
ABSL_NAMESPACE_END
}  // namespace absl
