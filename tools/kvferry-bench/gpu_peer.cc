#include "tools/kvferry-bench/gpu_peer.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/mapping.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/gpu_target.h"
#include "tools/kvferry-bench/gpu_tensors.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

// The peer's descriptors, out of the way of those that its start makes.
constexpr int kBoardFd = 100;
constexpr int kMemoryFd = 101;
constexpr uint32_t kHandleBytesMax = 4096;
constexpr absl::Duration kPeerTimeout = absl::Seconds(120);
constexpr absl::Duration kPollInterval = absl::Milliseconds(1);

// Filled in before the peer starts, and by it before it ends: no two write at a
// time.
struct GpuPeerBoard {
  char device[96] = {};
  gpu::ExportedMemory::Kind kind = gpu::ExportedMemory::Kind::kNone;
  uint8_t handle[kHandleBytesMax] = {};
  uint32_t handle_bytes = 0;
  uint64_t bytes = 0;
  int32_t owner_pid = 0;
  int32_t cpu = -1;
  uint32_t imports = 1;
  uint32_t rounds = 1;
  uint32_t repeats = 1;
  GpuPeerResult result;
};

absl::Status Await(pid_t pid) {
  const absl::Time deadline = absl::Now() + kPeerTimeout;
  int wait_status = 0;
  while (::waitpid(pid, &wait_status, WNOHANG) == 0) {
    if (absl::Now() > deadline) ::kill(pid, SIGKILL);
    absl::SleepFor(kPollInterval);
  }
  if (wait_status == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the other process ended with wait status ", wait_status));
}

gpu::ExportedMemory ExportedOf(const GpuPeerBoard& board) {
  gpu::ExportedMemory exported;
  exported.kind = board.kind;
  if (board.kind == gpu::ExportedMemory::Kind::kDescriptor) {
    exported.fd = UniqueFd(::dup(kMemoryFd));
  }
  exported.handle.assign(board.handle, board.handle + board.handle_bytes);
  exported.bytes = board.bytes;
  exported.owner_pid = board.owner_pid;
  return exported;
}

absl::Status CheckBytes(const GpuTarget& target, const std::byte* memory,
                        uint64_t bytes) {
  const RandomTile tile;
  std::vector<std::byte> seen(std::min<uint64_t>(bytes, uint64_t{1} << 20));
  for (const uint64_t offset : {uint64_t{0}, bytes - seen.size()}) {
    const gpu::Copy copy{seen.data(), memory + offset, seen.size()};
    KVFERRY_RETURN_IF_ERROR(target.Run([&] {
      return target.device().CopyAsync({&copy, 1}, target.stream());
    }));
    if (!tile.Holds(seen, offset)) {
      return absl::DataLossError(
          absl::StrCat("what was imported has other bytes at offset ", offset));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GpuPeerResult> RunGpuPeer(const GpuPeerTask& task,
                                         const gpu::ExportedMemory& exported) {
  KVFERRY_ASSIGN_OR_RETURN(
      const UniqueFd file,
      MakeMemoryFile(sizeof(GpuPeerBoard), PageKind::kSmall));
  KVFERRY_ASSIGN_OR_RETURN(Mapping memory,
                           Mapping::Map(file.get(), sizeof(GpuPeerBoard),
                                        Mapping::Access::kReadWrite));
  auto* const board = new (memory.data()) GpuPeerBoard;
  if (task.device.size() >= sizeof(board->device) ||
      exported.handle.size() > kHandleBytesMax) {
    return absl::InternalError("the board is too small for the export");
  }
  std::memcpy(board->device, task.device.c_str(), task.device.size() + 1);
  board->kind = exported.kind;
  std::copy(exported.handle.begin(), exported.handle.end(), board->handle);
  board->handle_bytes = static_cast<uint32_t>(exported.handle.size());
  board->bytes = exported.bytes;
  board->owner_pid = exported.owner_pid;
  board->cpu = task.cpu;
  board->imports = task.imports;
  board->rounds = task.rounds;
  board->repeats = task.repeats;

  // A process that has a GPU open must not run in a fork of itself; a spawned
  // one is another program from its first instruction on.
  std::string program = "/proc/self/exe";
  std::string flag = kGpuPeerFlag;
  char* const argv[] = {program.data(), flag.data(), nullptr};
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, file.get(), kBoardFd);
  if (exported.fd.valid()) {
    ::posix_spawn_file_actions_adddup2(&actions, exported.fd.get(), kMemoryFd);
  }
  pid_t pid = -1;
  const int error =
      ::posix_spawn(&pid, program.c_str(), &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return ErrnoStatus(error, "posix_spawn");
  KVFERRY_RETURN_IF_ERROR(Await(pid));
  return board->result;
}

absl::Status BeGpuPeer() {
  const UniqueFd file(kBoardFd);
  KVFERRY_ASSIGN_OR_RETURN(Mapping memory,
                           Mapping::Map(file.get(), sizeof(GpuPeerBoard),
                                        Mapping::Access::kReadWrite));
  auto* const board = memory.At<GpuPeerBoard>(0);
  KVFERRY_RETURN_IF_ERROR(PinThread(board->cpu));
  KVFERRY_ASSIGN_OR_RETURN(const GpuTarget target,
                           GpuTarget::OpenNamed(board->device));
  const gpu::ExportedMemory exported = ExportedOf(*board);

  std::vector<double> import_ns;
  std::unique_ptr<gpu::DeviceMemory> imported;
  for (uint32_t i = 0; i < board->imports; ++i) {
    imported.reset();
    const uint64_t start_ns = NowNs();
    KVFERRY_ASSIGN_OR_RETURN(imported, target.device().Import(exported));
    import_ns.push_back(static_cast<double>(NowNs() - start_ns));
  }
  KVFERRY_RETURN_IF_ERROR(
      CheckBytes(target, imported->address(), board->bytes));

  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> own,
                           target.device().AllocatePrivate(board->bytes));
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<gpu::DeviceMemory> engine,
                           target.device().AllocatePrivate(board->bytes));
  const gpu::Copy out{engine->address(), imported->address(), board->bytes};
  const gpu::Copy inside{engine->address(), own->address(), board->bytes};
  const auto time = [&](const gpu::Copy& copy) {
    return target.Time(board->repeats, [&] {
      return target.device().CopyAsync({&copy, 1}, target.stream());
    });
  };
  KVFERRY_ASSIGN_OR_RETURN(const std::vector<ContestantTimes> times,
                           Interleave({{"import", [&] { return time(out); }},
                                       {"own", [&] { return time(inside); }}},
                                      board->rounds));
  board->result.first_import_ns = import_ns.front();
  board->result.import_ns = Median(import_ns);
  board->result.import_copy_ns = times[0].median_ns;
  board->result.own_copy_ns = times[1].median_ns;
  return absl::OkStatus();
}

}  // namespace kvferry::bench
