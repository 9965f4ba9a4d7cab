#include "daemon/daemon.h"

#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "daemon/config/default_directory.h"
#include "daemon/config/size.h"
#include "daemon/control/control_loop.h"
#include "daemon/control/listener.h"
#include "daemon/memory/node_directory.h"
#include "daemon/memory/probes.h"
#include "daemon/memory/read_only_view.h"
#include "daemon/memory/segment_maker.h"

namespace kvferry {
namespace {

using config::Toggle;

absl::Status BlockSignals() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    ::sigaddset(&set, signal);
  }
  if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0) {
    return ErrnoStatus(errno, "sigprocmask");
  }
  return absl::OkStatus();
}

// Six descriptors a session, one a segment.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    spdlog::warn("the limit of open files stays as it is");
  }
}

// Says what this machine cannot do; fails when it was asked for as `on`.
absl::Status ProbeMachine(const config::Config& config) {
  if (config.huge_pages != Toggle::kOff) {
    const absl::Status huge = memory::ProbeHugePages();
    if (!huge.ok() && config.huge_pages == Toggle::kOn) {
      return absl::FailedPreconditionError(
          absl::StrCat("memory.huge_pages = on: ", huge.message()));
    }
    if (!huge.ok()) {
      spdlog::info("no 2 MiB pages: {}", std::string(huge.message()));
    }
  }
  if (config.lock != Toggle::kOff) {
    const absl::Status lock = memory::ProbeLock(config.pool_size_bytes);
    if (!lock.ok() && config.lock == Toggle::kOn) {
      return absl::FailedPreconditionError(
          absl::StrCat("memory.lock = on: ", lock.message()));
    }
    if (!lock.ok()) {
      spdlog::info("memory not locked: {}", std::string(lock.message()));
    }
  }
  if (config.numa_node != config::kNumaAuto) {
    const absl::Status node = memory::ProbeNumaNode(config.numa_node);
    if (!node.ok()) {
      return absl::FailedPreconditionError(
          absl::StrCat("memory.numa_node: ", node.message()));
    }
  }
  const uint64_t memory_bytes = config::MemoryOfThisMachine();
  if (config.pool_size_bytes > memory_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "memory.pool_size = ", config::FormatSize(config.pool_size_bytes),
        ": this machine has ", config::FormatSize(memory_bytes)));
  }
  return absl::OkStatus();
}

}  // namespace

// In the order in which they are made; taken down in reverse.
struct Daemon::Parts {
  config::Config config;
  std::optional<memory::NodeDirectory> directory;
  std::optional<memory::ReadOnlyView> view;
  std::unique_ptr<memory::SegmentMakerProxy> maker_proxy;
  std::unique_ptr<memory::SegmentMaker> maker;
  std::unique_ptr<control::ControlLoop> loop;
};

Daemon::Daemon(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Daemon::~Daemon() = default;

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Make(
    const config::Config& config) {
  KVFERRY_RETURN_IF_ERROR(BlockSignals());
  // Others of the same user shall not reach our descriptors through /proc.
  (void)::prctl(PR_SET_DUMPABLE, 0);
  RaiseDescriptorLimit();
  auto parts = std::make_unique<Parts>();
  parts->config = config;
  KVFERRY_ASSIGN_OR_RETURN(
      parts->directory,
      memory::NodeDirectory::Open(config.directory, absl::Now()));
  if (const int removed = parts->directory->RemoveSharedFiles(); removed > 0) {
    spdlog::info("{} files of an earlier daemon removed", removed);
  }
  if (!config::IsOnTmpfs(config.directory)) {
    spdlog::warn("{} is not on tmpfs: shared pages are written to its disk",
                 config.directory);
  }
  KVFERRY_RETURN_IF_ERROR(ProbeMachine(config));
  KVFERRY_ASSIGN_OR_RETURN(parts->view,
                           memory::ReadOnlyView::Make(config.directory));
  if (!parts->view->enforced()) spdlog::warn("{}", parts->view->note());

  KVFERRY_ASSIGN_OR_RETURN(parts->maker_proxy,
                           memory::SegmentMakerProxy::Make());
  parts->maker = std::make_unique<memory::SegmentMaker>(
      parts->maker_proxy.get(),
      memory::SegmentOptions{config.huge_pages, config.lock, config.numa_node});
  KVFERRY_ASSIGN_OR_RETURN(
      control::Listener listener,
      control::Listener::Open(config.socket, config.open_to_others()));
  const control::NodeIdentity identity{
      KVFERRY_VERSION, parts->directory->epoch(), parts->directory->node_id(),
      parts->directory->secret()};
  KVFERRY_ASSIGN_OR_RETURN(
      parts->loop,
      control::ControlLoop::Make(parts->config, identity, *parts->view,
                                 *parts->maker_proxy, std::move(listener)));
  spdlog::info("kvferryd {} serves on {}: directory {}, pool {}, epoch {}",
               KVFERRY_VERSION, config.socket, config.directory,
               config::FormatSize(config.pool_size_bytes), identity.epoch);
  return std::unique_ptr<Daemon>(new Daemon(std::move(parts)));
}

void Daemon::Run() {
  parts_->maker->Start();
  parts_->loop->Run();
  parts_->maker->Stop();
}

}  // namespace kvferry
