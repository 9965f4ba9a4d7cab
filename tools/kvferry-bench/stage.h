#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_STAGE_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_STAGE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kvferry/admin.h"
#include "kvferry/client.h"
#include "tools/kvferry-bench/options.h"
#include "tools/support/daemon_process.h"

namespace kvferry::bench {

struct StageOptions {
  uint64_t page_bytes = 4096;
  // In place of opaque pages of page_bytes.
  std::optional<GroupSpec> group;
  // Blocks of one page, 16 tokens each.
  uint64_t block_count = 0;
  // For a daemon of our own.
  std::vector<std::string> daemon_arguments;
  // Of it and of the helper processes; -1: any.
  int daemon_cpu = -1;
  // How long the client polls before it sleeps.
  absl::Duration client_spin = absl::Microseconds(20);
};

// What a benchmark plays on: a daemon (its own, or the one that was named), a
// namespace of its own with every block's memory there, and a client in it.
// Members are destroyed from the last to the first.
struct Stage {
  std::unique_ptr<tools::DaemonProcess> daemon;  // null: a running one
  std::string socket;
  std::string namespace_name;
  std::unique_ptr<AdminClient> admin;
  std::unique_ptr<Client> client;

  // Of the benchmark's namespace.
  absl::StatusOr<NamespaceStatus> Status() const;
  // User and system time of the daemon so far.
  absl::StatusOr<absl::Duration> DaemonCpuTime() const;
};

// Errors  as DaemonProcess::Start, AdminClient::CreateNamespace and
//         Client::Attach; kDeadlineExceeded  the memory did not come
absl::StatusOr<Stage> SetStage(const BenchOptions& options,
                               const StageOptions& stage_options);

// Attaches to a stage that was set, in this process or another one.
absl::StatusOr<std::unique_ptr<Client>> EnterStage(
    const std::string& socket, const std::string& namespace_name, bool publish,
    absl::Duration spin = AttachOptions().spin);

// A daemon of our own with a pool of `pool_bytes` and no namespace.
absl::StatusOr<std::unique_ptr<tools::DaemonProcess>> StartDaemon(
    const BenchOptions& options, uint64_t pool_bytes,
    const StageOptions& stage_options);

// A namespace's specification: one group of opaque pages.
NamespaceSpec StageSpec(const std::string& name, uint64_t page_bytes);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_STAGE_H_
