#include "daemon/control/namespace_host.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "absl/memory/memory.h"
#include "base/status.h"
#include "daemon/control/connection.h"
#include "protocol/shm_layout.h"

namespace kvferry::control {
namespace {

constexpr uint64_t kAutoSegmentBytesMin = uint64_t{64} << 20;
// An eighth of the quota: an engine gets its first blocks early, and a node of
// a terabyte has no more segments than descriptors for them.
constexpr uint64_t kAutoSegmentShare = 8;
constexpr uint32_t kFirstGeneration = 1;

uint64_t SegmentBytesFor(uint64_t quota_bytes, uint64_t segment_bytes_max) {
  if (segment_bytes_max != 0) return segment_bytes_max;
  return std::clamp(quota_bytes / kAutoSegmentShare, kAutoSegmentBytesMin,
                    protocol::kSegmentBytesMax);
}

void AddGpuPoolsIfPossible(const core::Catalog::Entry& entry,
                           const std::vector<protocol::GpuQuota>& quotas,
                           protocol::Geometry* geometry) {
  protocol::Geometry with_pools = *geometry;
  const absl::Status added = protocol::AddGpuPools(quotas, &with_pools);
  if (added.ok()) {
    *geometry = std::move(with_pools);
    return;
  }
  spdlog::warn("namespace \"{}\" has no GPU memory: {}", entry.spec.name,
               std::string(added.message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<NamespaceHost>> NamespaceHost::Make(
    const core::Catalog::Entry& entry, uint64_t epoch,
    uint64_t segment_bytes_max,
    const std::vector<protocol::GpuQuota>& gpu_quotas,
    const core::GpuPolicy& gpu_policy, const memory::ReadOnlyView& view) {
  core::NamespaceConfig config;
  config.id = entry.id;
  config.epoch = epoch;
  KVFERRY_ASSIGN_OR_RETURN(
      config.geometry,
      protocol::PlanGeometry(
          entry.spec, entry.quota_bytes,
          SegmentBytesFor(entry.quota_bytes, segment_bytes_max)));
  AddGpuPoolsIfPossible(entry, gpu_quotas, &config.geometry);
  config.gpu = gpu_policy;
  KVFERRY_ASSIGN_OR_RETURN(
      memory::NamespaceFiles files,
      memory::NamespaceFiles::Make(view, entry.id, config.geometry));
  auto host = absl::WrapUnique(new NamespaceHost(entry, std::move(files)));
  core::NamespaceMemory shared;
  shared.index = host->files_.index.mapping().At<protocol::IndexHeader>(0);
  shared.state = host->files_.state.mapping().At<protocol::StateHeader>(0);
  host->core_ = std::make_unique<core::NamespaceCore>(
      config, shared, entry.fingerprint, entry.salt);
  for (const protocol::SegmentPlan& plan :
       protocol::PlanSegments(config.geometry)) {
    host->plans_.push_back(plan);
  }
  return host;
}

uint32_t NamespaceHost::GpuIncarnation(uint32_t pool) const {
  return files_.index.mapping()
      .At<protocol::IndexHeader>(0)
      ->gpu_pools[pool - 1]
      .incarnation.load(std::memory_order_relaxed);
}

void NamespaceHost::OrderSegments(memory::SegmentMakerProxy* maker) {
  while (!plans_.empty() && maker->TrySubmit({entry_.id, plans_.front()})) {
    plans_.pop_front();
  }
}

void NamespaceHost::AddSegment(std::unique_ptr<memory::Segment> segment) {
  for (const ClientSession* session : sessions_) Announce(*segment, *session);
  core_->AddSegment(segment->plan());
  populated_bytes_ += segment->bytes();
  segments_.push_back(std::move(segment));
}

void NamespaceHost::AnnounceSegments(const ClientSession& session) const {
  for (const auto& segment : segments_) Announce(*segment, session);
}

void NamespaceHost::Announce(const memory::Segment& segment,
                             const ClientSession& session) const {
  if (session.connection == nullptr) return;
  const protocol::SegmentPlan& plan = segment.plan();
  protocol::wire::SegmentAddedT added;
  added.segment = plan.segment;
  added.generation = kFirstGeneration;
  added.group = static_cast<uint8_t>(plan.group);
  added.first_block = plan.first_block;
  added.block_count = plan.block_count;
  added.bytes = segment.bytes();
  added.writable = session.may_publish;
  const int fd =
      session.may_publish ? segment.writer_fd() : segment.reader_fd();
  session.connection->Reply(0, std::move(added), std::span(&fd, 1));
}

void NamespaceHost::SetAsleep(bool asleep) {
  files_.index.mapping().At<protocol::IndexHeader>(0)->daemon_asleep.store(
      asleep ? 1 : 0, std::memory_order_relaxed);
}

}  // namespace kvferry::control
