#include "daemon/core/namespace_core.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "daemon/core/mutant.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::GroupRecord;

NamespaceCore::NamespaceCore(const NamespaceConfig& config,
                             const NamespaceMemory& memory,
                             const std::array<std::byte, 32>& fingerprint,
                             const NamespaceSalt& salt)
    : config_(config),
      header_(memory.index),
      blocks_(config.geometry, reinterpret_cast<protocol::BlockStateRecord*>(
                                   reinterpret_cast<std::byte*>(memory.state) +
                                   protocol::kHeaderBytes)),
      index_(reinterpret_cast<protocol::Bucket*>(
                 reinterpret_cast<std::byte*>(memory.index) +
                 protocol::kHeaderBytes),
             config.geometry.bucket_count),
      directory_(reinterpret_cast<protocol::PublicationRecord*>(
          reinterpret_cast<std::byte*>(memory.index) +
          protocol::PublicationsOffset(config.geometry.bucket_count))),
      retirer_(&index_, &blocks_, &leases_),
      copies_(static_cast<uint32_t>(config.geometry.gpu_pools.size())) {
  for (const GroupRecord& record : config_.geometry.groups) {
    groups_.push_back(
        {.all_slices = record.slice_count == 64
                           ? ~uint64_t{0}
                           : (uint64_t{1} << record.slice_count) - 1});
  }
  for (uint32_t area = 0; area < blocks_.area_count(); ++area) {
    const uint32_t capacity = blocks_.counts(area).capacity;
    areas_.push_back(
        {.grant_target = std::min(capacity / protocol::kGrantShare,
                                  protocol::kGrantBlocksMax),
         .in_flight_max = std::max(1u, capacity / protocol::kInFlightShare),
         .evictable = EvictionQueue(&blocks_)});
  }
  MakePools();

  for (uint32_t file = 0; file < protocol::kSessionsPerNamespaceMax; ++file) {
    free_progress_files_.push_back(static_cast<uint8_t>(file));
  }

  header_->magic = protocol::kIndexMagic;
  header_->group_count = static_cast<uint32_t>(groups_.size());
  header_->epoch = config.epoch;
  header_->namespace_id = config.id;
  header_->block_capacity = config.geometry.block_capacity;
  header_->bucket_count = config.geometry.bucket_count;
  header_->host_blocks = config.geometry.host_blocks;
  header_->content_epoch.store(1, std::memory_order_relaxed);
  std::memcpy(header_->fingerprint, fingerprint.data(), fingerprint.size());
  std::memcpy(header_->salt, salt.data(), salt.size());
  std::copy(config_.geometry.groups.begin(), config_.geometry.groups.end(),
            header_->groups);
  memory.state->magic = protocol::kStateMagic;
  memory.state->block_capacity = config.geometry.block_capacity;
  memory.state->epoch = config.epoch;
  memory.state->layout_version.store(protocol::kLayoutVersion,
                                     std::memory_order_release);
  header_->layout_version.store(protocol::kLayoutVersion,
                                std::memory_order_release);
}

NamespaceCore::~NamespaceCore() = default;

void NamespaceCore::AddSegment(const protocol::SegmentPlan& plan) {
  blocks_.Add(plan.first_block, plan.block_count);
}

absl::Status NamespaceCore::AddSession(uint16_t session, bool may_publish,
                                       const SessionMemory& memory,
                                       ReplySink* sink, uint64_t now_ms) {
  if (sessions_.size() >= protocol::kSessionsPerNamespaceMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the namespace has ", sessions_.size(), " sessions, the limit is ",
        protocol::kSessionsPerNamespaceMax));
  }
  const auto [it, added] = sessions_.try_emplace(session);
  if (!added) {
    return absl::AlreadyExistsError(
        absl::StrCat("session number ", session, " is in use"));
  }
  it->second.may_publish = may_publish;
  it->second.memory = memory;
  it->second.sink = sink;
  it->second.progress = ProgressView(memory.progress);
  // First in, first out: a number that readers may remember comes back late.
  it->second.progress_file = free_progress_files_.front();
  free_progress_files_.pop_front();
  progress_files_[it->second.progress_file] = session;
  retirer_.AddSession(session, memory.pins);
  Tick(now_ms);
  return absl::OkStatus();
}

void NamespaceCore::RemoveSession(uint16_t id, uint64_t now_ms) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  SweepTouches(session, now_ms);
  AddClientCounters(session, &counters_);
  for (auto& [number, handle] : session.handles) {
    if (!session.revoked) AdoptProgress(session, handle, now_ms);
    CloseHandle(session, handle, /*died=*/true, now_ms);
  }
  if (!IsMutant(Mutant::kDeadSessionKeepsGrants)) {
    for (Grants& grants : session.grants) {
      // Sorted: the order of the free list must not depend on a hash seed.
      std::vector<uint32_t> blocks(grants.blocks.begin(), grants.blocks.end());
      std::sort(blocks.begin(), blocks.end(), std::greater<>());
      for (uint32_t block : blocks) {
        if (session.gpu_device.has_value()) Rest(block, now_ms);
        LetGo(block);
      }
    }
  }
  retirer_.RemoveSession(id);
  progress_files_.erase(session.progress_file);
  free_progress_files_.push_back(session.progress_file);
  sessions_.erase(it);
  EndFinished(now_ms);
  SweepQuarantine();
}

void NamespaceCore::RevokeSession(uint16_t id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return;
  Session& session = it->second;
  session.revoked = true;
  session.may_publish = false;
  for (auto& [number, handle] : session.handles) {
    for (uint32_t p = 0; p < handle.begun; ++p) {
      PublicationEntry& entry = handle.publication->entries[p];
      // Its slices stay begun: it may be writing them.
      if (handle.owned[p]) GiveUp(*handle.publication, entry, ticked_ms_);
    }
  }
}

std::vector<uint16_t> NamespaceCore::TakePokes() {
  return std::exchange(pokes_, {});
}

std::vector<StallReport> NamespaceCore::TakeStalls() {
  return std::exchange(stalls_, {});
}

std::vector<const std::atomic<uint32_t>*> NamespaceCore::TakeWakes() {
  std::vector<const std::atomic<uint32_t>*> words;
  for (const uint32_t slot : directory_.TakeChanged()) {
    words.push_back(&directory_.changes(slot));
  }
  return words;
}

absl::StatusOr<uint8_t> NamespaceCore::ProgressFileOf(uint16_t session) const {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no session ", session));
  }
  return found->second.progress_file;
}

absl::StatusOr<uint16_t> NamespaceCore::SessionOfProgressFile(
    uint8_t file) const {
  const auto found = progress_files_.find(file);
  if (found == progress_files_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no session has progress file ", file));
  }
  return found->second;
}

void NamespaceCore::Tick(uint64_t now_ms) {
  ticked_ms_ = now_ms;
  header_->coarse_now_ms.store(static_cast<uint32_t>(now_ms),
                               std::memory_order_relaxed);
  SweepTouches(now_ms);
  leases_.Expire(now_ms);
  ExpireStalled(now_ms);
  ExpirePublications(now_ms);
  EndFinished(now_ms);
  resting_.Expire(now_ms);
  SweepQuarantine();
  for (const GpuPool& pool : pools_) KeepWatermark(pool, now_ms);
  StartPromotions(now_ms);
  for (auto& [id, session] : sessions_) TopUp(id, session, now_ms);
}

uint64_t NamespaceCore::content_epoch() const {
  return header_->content_epoch.load(std::memory_order_relaxed);
}

void NamespaceCore::AddClientCounters(const Session& session,
                                      NamespaceCounters* counters) {
  // Anybody's words: one session's lie shall not wrap the sum.
  static constexpr uint64_t kPlausible = uint64_t{1} << 48;
  auto read = [](const std::atomic<uint64_t>& word) {
    return std::min(word.load(std::memory_order_relaxed), kPlausible);
  };
  const protocol::SessionClientHeader& header = *session.memory.header;
  counters->lookups += read(header.match_calls);
  counters->hit_blocks += read(header.matched_blocks);
  counters->missed_lookups += read(header.missed_calls);
}

NamespaceCounters NamespaceCore::counters() const {
  NamespaceCounters all = counters_;
  for (const auto& [id, session] : sessions_) {
    AddClientCounters(session, &all);
  }
  return all;
}

uint32_t NamespaceCore::session_count() const {
  return static_cast<uint32_t>(sessions_.size());
}

uint32_t NamespaceCore::lease_count() const { return leases_.size(); }

SessionCounts NamespaceCore::session_counts(uint16_t id) const {
  SessionCounts counts;
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return counts;
  const Session& session = it->second;
  for (uint32_t area = 0; area < session.grants.size(); ++area) {
    (area < groups_.size() ? counts.granted : counts.gpu_granted) +=
        static_cast<uint32_t>(session.grants[area].blocks.size());
  }
  counts.gpu_device = session.gpu_device;
  counts.publications = static_cast<uint32_t>(session.handles.size());
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    if (session.memory.pins[block].load(std::memory_order_relaxed) != 0) {
      ++counts.pinned_blocks;
      if (blocks_.in_gpu(block)) ++counts.gpu_pinned_blocks;
    }
  }
  const protocol::SessionClientHeader& header = *session.memory.header;
  counts.matches = header.match_calls.load(std::memory_order_relaxed);
  counts.hit_blocks = header.matched_blocks.load(std::memory_order_relaxed);
  return counts;
}

uint32_t NamespaceCore::overhead_bytes_per_block() const {
  // Each block of the host bears its share of those in GPU memory, too.
  const uint64_t host_blocks = config_.geometry.host_blocks;
  const uint64_t blocks = config_.geometry.block_capacity;
  const uint64_t bytes =
      protocol::IndexFileBytes(config_.geometry.bucket_count) +
      protocol::StateFileBytes(config_.geometry.block_capacity) +
      blocks * (sizeof(BlockMeta) + sizeof(uint32_t) /* free list */ +
                2 * sizeof(uint32_t) /* eviction queue */ +
                (pools_.empty() ? 0 : sizeof(uint32_t)) /* twin */);
  return static_cast<uint32_t>((bytes + host_blocks - 1) / host_blocks);
}

}  // namespace kvferry::core
