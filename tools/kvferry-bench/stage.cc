#include "tools/kvferry-bench/stage.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace kvferry::bench {
namespace {

constexpr uint32_t kBlockTokens = 16;
// A virtual machine's first touch of its memory may run at 0.4 GB/s.
constexpr absl::Duration kMemoryTimeout = absl::Seconds(120);
constexpr absl::Duration kCallTimeout = absl::Seconds(10);
constexpr absl::Duration kPollInterval = absl::Milliseconds(5);
// What a pool needs beside its blocks, where it comes in whole segments.
constexpr uint64_t kPoolSlackBytes = uint64_t{64} << 20;

absl::Status AwaitMemory(const Stage& stage) {
  const absl::Time deadline = absl::Now() + kMemoryTimeout;
  while (true) {
    KVFERRY_ASSIGN_OR_RETURN(const NamespaceStatus status, stage.Status());
    bool there = !status.groups.empty();
    for (const GroupStatus& group : status.groups) {
      there = there && group.present == group.blocks;
    }
    if (there) return absl::OkStatus();
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "only ", status.populated_bytes, " of ", status.quota_bytes,
          " bytes are populated after ", absl::FormatDuration(kMemoryTimeout)));
    }
    absl::SleepFor(kPollInterval);
  }
}

}  // namespace

NamespaceSpec StageSpec(const std::string& name, uint64_t page_bytes) {
  NamespaceSpec spec;
  spec.name = name;
  spec.model = "kvferry-bench";
  spec.revision = "1";
  spec.dtype = "opaque";
  spec.groups.push_back(OpaqueGroup(kBlockTokens, page_bytes));
  return spec;
}

absl::StatusOr<NamespaceStatus> Stage::Status() const {
  KVFERRY_ASSIGN_OR_RETURN(std::vector<NamespaceStatus> all,
                           admin->Namespaces());
  for (NamespaceStatus& status : all) {
    if (status.spec.name == namespace_name) return std::move(status);
  }
  return absl::NotFoundError(
      absl::StrCat("the daemon knows no namespace ", namespace_name));
}

absl::StatusOr<absl::Duration> Stage::DaemonCpuTime() const {
  KVFERRY_ASSIGN_OR_RETURN(const DaemonStatus status, admin->Status());
  return tools::ProcessCpuTime(static_cast<pid_t>(status.pid));
}

absl::StatusOr<std::unique_ptr<tools::DaemonProcess>> StartDaemon(
    const BenchOptions& options, uint64_t pool_bytes,
    const StageOptions& stage_options) {
  tools::DaemonProcessOptions daemon_options;
  daemon_options.binary = options.daemon_binary;
  daemon_options.pool_bytes = pool_bytes;
  daemon_options.arguments = stage_options.daemon_arguments;
  daemon_options.cpu = stage_options.daemon_cpu;
  return tools::DaemonProcess::Start(daemon_options);
}

absl::StatusOr<Stage> SetStage(const BenchOptions& options,
                               const StageOptions& stage_options) {
  const uint64_t page_bytes = stage_options.group
                                  ? stage_options.group->page_bytes()
                                  : stage_options.page_bytes;
  const uint64_t quota_bytes = stage_options.block_count * page_bytes;
  Stage stage;
  stage.socket = options.socket;
  if (stage.socket.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(
        stage.daemon,
        StartDaemon(options, quota_bytes + kPoolSlackBytes, stage_options));
    stage.socket = stage.daemon->socket_path();
  }
  KVFERRY_ASSIGN_OR_RETURN(stage.admin,
                           AdminClient::Connect(stage.socket, kCallTimeout));
  // A running daemon keeps what earlier runs made; the process and the time
  // make the name new.
  stage.namespace_name = absl::StrCat("kvferry-bench-", ::getpid(), "-",
                                      absl::ToUnixMillis(absl::Now()));
  AttachOptions attach;
  attach.socket_path = stage.socket;
  attach.spec = StageSpec(stage.namespace_name, page_bytes);
  if (stage_options.group) attach.spec.groups = {*stage_options.group};
  attach.create = false;
  attach.client_name = "kvferry-bench";
  attach.timeout = kMemoryTimeout;
  attach.spin = stage_options.client_spin;
  KVFERRY_RETURN_IF_ERROR(
      stage.admin->CreateNamespace(attach.spec, quota_bytes));
  KVFERRY_ASSIGN_OR_RETURN(stage.client, Client::Attach(attach));
  KVFERRY_RETURN_IF_ERROR(AwaitMemory(stage));
  return stage;
}

absl::StatusOr<std::unique_ptr<Client>> EnterStage(
    const std::string& socket, const std::string& namespace_name, bool publish,
    absl::Duration spin) {
  AttachOptions attach;
  attach.socket_path = socket;
  attach.spec.name = namespace_name;
  attach.accept_existing = true;
  attach.create = false;
  attach.publish = publish;
  attach.client_name = "kvferry-bench-peer";
  attach.spin = spin;
  return Client::Attach(attach);
}

}  // namespace kvferry::bench
