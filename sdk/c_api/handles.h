#ifndef KVFERRY_SDK_C_API_HANDLES_H_
#define KVFERRY_SDK_C_API_HANDLES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/fork_guard.h"
#include "kvferry/client.h"
#include "kvferry/gpu.h"
#include "kvferry/kvferry.h"
#include "kvferry/kvferry_gpu.h"
#include "kvferry/paged.h"
#include "sdk/c_api/arguments.h"
#include "sdk/client_impl.h"

// What the opaque handles of kvferry.h are. Everything that was made by a
// client shares it, so that the client may be closed first; the last of them
// ends the session. Each handle knows the process that made it: in a forked
// child it answers nothing, and what the SDK's destructors leave to the parent
// is left.
namespace kvferry::c_api {

struct SharedClient {
  std::unique_ptr<Client> client;
  // As attached: it is the same after every restart of the daemon, so its
  // strings can be handed out.
  NamespaceSpec spec;
  const ForkGuard fork_guard;

  SharedClient(std::unique_ptr<Client> made, NamespaceSpec made_for)
      : client(std::move(made)), spec(std::move(made_for)) {}
};

// Errors  kOutOfRange  the namespace has no such group
inline absl::Status CheckGroup(const SharedClient& shared, uint32_t group) {
  if (group < shared.spec.groups.size()) [[likely]]
    return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat(
      "group ", group, ", the namespace has ", shared.spec.groups.size()));
}

// Errors  kFailedPrecondition  in a forked child
inline absl::Status NotForked(const ForkGuard& guard) {
  if (!guard.forked()) [[likely]]
    return absl::OkStatus();
  return sdk::ForkedError();
}

}  // namespace kvferry::c_api

struct kvf_client {
  std::shared_ptr<kvferry::c_api::SharedClient> shared;

  const kvferry::ForkGuard& fork_guard() const { return shared->fork_guard; }
};

// In the structs below what the SDK's object was made from comes first, since
// it must go last.

struct kvf_prefix {
  std::shared_ptr<kvferry::c_api::SharedClient> shared;  // null: never filled
  kvferry::PinnedPrefix prefix;
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

struct kvf_publication {
  // Positions from `first` on, up to the next run's, are of `group`.
  struct Run {
    uint32_t first = 0;
    uint32_t group = 0;
  };

  std::shared_ptr<kvferry::c_api::SharedClient> shared;
  kvferry::Publication publication;
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;  // 0: all
  std::vector<Run> runs;
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

struct kvf_gpu {
  ~kvf_gpu() {
    // The device cannot be used here, nor what waits for it.
    if (guard.forked()) (void)gpu.release();
  }

  std::shared_ptr<kvferry::c_api::SharedClient> shared;
  // As opened, so that they can be handed out.
  std::string uuid;
  std::string name;
  std::unique_ptr<kvferry::Gpu> gpu;
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

// What it was made from may be closed: ~Gpu waits until it has ended.
struct kvf_transfer {
  kvferry::GpuTransfer transfer;
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

// A description of memory that is the engine's: what the caller keeps, any
// process may use. Nobody's handle.
struct kvf_paged {
  kvferry::PagedMemory memory;
  // The addresses are a device's, for which the processor has no use.
  bool device = false;
};

struct kvf_stream {
  std::shared_ptr<kvferry::c_api::SharedClient> shared;  // null: never filled
  kvferry::PrefixStream stream;
  uint32_t group = 0;
  const kvferry::ForkGuard guard;

  const kvferry::ForkGuard& fork_guard() const { return guard; }
};

namespace kvferry::c_api {

// Whether a call may use `handle`, one of the above.
// Errors  kInvalidArgument     null
//         kFailedPrecondition  in a forked child
template <typename Handle>
absl::Status Usable(const Handle* handle, const char* name) {
  if (handle == nullptr) [[unlikely]]
    return NullError(name);
  return NotForked(handle->fork_guard());
}
// For calls that have no status to answer with.
template <typename Handle>
bool IsUsable(const Handle* handle) {
  return handle != nullptr && !handle->fork_guard().forked();
}

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_HANDLES_H_
