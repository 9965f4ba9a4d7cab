#include "daemon/memory/probes.h"

#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/memory/segment.h"

namespace kvferry::memory {
namespace {

bool HasCapability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) !=
         0;
}

}  // namespace

absl::Status ProbeHugePages() {
  protocol::SegmentPlan plan;
  plan.bytes = kHugePageBytes;
  SegmentOptions options;
  options.huge_pages = config::Toggle::kOn;
  options.lock = config::Toggle::kOff;
  return Segment::Make(plan, options).status();
}

absl::Status ProbeLock(uint64_t bytes) {
  if (HasCapability(CAP_IPC_LOCK)) return absl::OkStatus();
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) {
    return ErrnoStatus(errno, "getrlimit");
  }
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= bytes) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(absl::StrCat(
      "locking ", bytes, " bytes: no CAP_IPC_LOCK, and RLIMIT_MEMLOCK is ",
      limit.rlim_cur, " bytes"));
}

absl::Status ProbeNumaNode(int node) {
  const std::string path = absl::StrCat("/sys/devices/system/node/node", node);
  if (::access(path.c_str(), F_OK) != 0) {
    return ErrnoStatus(errno, absl::StrCat("NUMA node ", node, ": ", path));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::memory
