#include "tools/kvferry-bench/handoff_stage.h"

#include <time.h>

#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;
// Left to everything else on the machine.
constexpr uint64_t kSpareBytes = 4 * kGiB;
constexpr uint32_t kPromptBlocksMax = kHandoffTokensMax / kHandoffBlockTokens;
// Room for the next round's first chunks while the last ones of the round
// before are pinned, and for what the publisher is granted ahead.
constexpr uint32_t kPoolBlocks =
    kPromptBlocksMax + 2 * kHandoffChunkTokensMax / kHandoffBlockTokens;
// 128 values of two bytes.
constexpr uint32_t kHeadBytes = 256;
constexpr uint32_t kLayers = 80;
// A head of 8 bytes; pages stay multiples of 4 KiB.
constexpr uint32_t kDivisorMax = 32;
// Longer than any wait.
constexpr absl::Duration kPollingSpin = absl::Minutes(10);
// A page of the pool comes round once in two rounds of the longest prompt.
constexpr int kWarmRounds = 2;

GroupSpec SliceGroup(uint32_t divisor) {
  GroupSpec group;
  group.block_tokens = kHandoffBlockTokens;
  group.layer_count = kLayers;
  group.kv_count = 2;
  group.head_count = 1;
  group.head_bytes = kHeadBytes / divisor;
  return group;
}

uint64_t AvailableBytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  uint64_t kib = 0;
  std::string unit;
  while (file >> name >> kib) {
    if (name == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  return 0;
}

// By how much pages are smaller than true ones.
uint32_t ChooseDivisor(const BenchOptions& options) {
  const uint64_t available = AvailableBytes();
  auto divisor = ByScale<uint32_t>(options, kDivisorMax, 8, 1);
  for (; divisor < kDivisorMax; divisor *= 2) {
    const uint64_t page_bytes = SliceGroup(divisor).page_bytes();
    const uint64_t pool_bytes = kPoolBlocks * page_bytes;
    const uint64_t own_bytes = kPromptBlocksMax * page_bytes;
    if (options.pool_bytes != 0 && pool_bytes > options.pool_bytes) continue;
    if (pool_bytes + own_bytes + kSpareBytes <= available) break;
  }
  return divisor;
}

}  // namespace

absl::StatusOr<double> ProcessCpuNs(pid_t pid) {
  clockid_t clock;
  timespec time;
  if (::clock_getcpuclockid(pid, &clock) != 0 ||
      ::clock_gettime(clock, &time) != 0) {
    return absl::NotFoundError(absl::StrCat("no process ", pid));
  }
  return static_cast<double>(time.tv_sec) * 1e9 +
         static_cast<double>(time.tv_nsec);
}

absl::StatusOr<std::unique_ptr<HandoffStage>> HandoffStage::Set(
    const BenchOptions& options) {
  std::unique_ptr<HandoffStage> stage(new HandoffStage());
  KVFERRY_RETURN_IF_ERROR(stage->Prepare(options));
  return stage;
}

absl::Status HandoffStage::Prepare(const BenchOptions& options) {
  const uint32_t divisor = ChooseDivisor(options);
  scale_ = 1.0 / divisor;
  StageOptions stage_options;
  stage_options.group = SliceGroup(divisor);
  stage_options.block_count = kPoolBlocks;
  stage_options.daemon_cpu = options.cpu_other;
  stage_options.client_spin = AttachOptions().spin;
  KVFERRY_ASSIGN_OR_RETURN(stage_, SetStage(options, stage_options));
  KVFERRY_ASSIGN_OR_RETURN(polling_client_,
                           EnterStage(stage_.socket, stage_.namespace_name,
                                      /*publish=*/false, kPollingSpin));
  KVFERRY_ASSIGN_OR_RETURN(content_,
                           HandoffContent::Make(*stage_options.group));
  KVFERRY_ASSIGN_OR_RETURN(
      pages_, Buffer::Private(kPromptBlocksMax * content_->page_bytes()));
  PeerOptions peer_options;
  peer_options.role = PeerRole::kPublisher;
  peer_options.socket = stage_.socket;
  peer_options.namespace_name = stage_.namespace_name;
  peer_options.cpu = options.cpu_other;
  KVFERRY_ASSIGN_OR_RETURN(Peer peer, Peer::Start(peer_options));
  peer_.emplace(std::move(peer));
  default_reader_.emplace(*stage_.client, peer_->handoff(), *content_,
                          pages_.span());
  polling_reader_.emplace(*polling_client_, peer_->handoff(), *content_,
                          pages_.span());
  // Last, so that the clients' own threads are not bound.
  KVFERRY_RETURN_IF_ERROR(PinThread(options.cpu_main));
  return Warm();
}

absl::Status HandoffStage::Warm() {
  for (HandoffReader* reader : {&*default_reader_, &*polling_reader_}) {
    for (int i = 0; i < kWarmRounds; ++i) {
      HandoffRound round;
      round.number = NextRound();
      round.block_count = kPromptBlocksMax;
      round.chunk_blocks = kHandoffChunkTokensMax / kHandoffBlockTokens;
      KVFERRY_RETURN_IF_ERROR(reader->Pull(round).status());
      KVFERRY_RETURN_IF_ERROR(reader->End());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<double> HandoffStage::DaemonCpuNs() const {
  KVFERRY_ASSIGN_OR_RETURN(const DaemonStatus status, stage_.admin->Status());
  return ProcessCpuNs(static_cast<pid_t>(status.pid));
}

}  // namespace kvferry::bench
