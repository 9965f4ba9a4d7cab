#include "tests/sim/world.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/sim/client.h"
#include "tests/sim/fake_gpu.h"
#include "tests/sim/hoarder.h"
#include "tests/sim/publisher.h"
#include "tests/sim/reader.h"
#include "tests/sim/stream_reader.h"

namespace kvferry::sim {
namespace {

constexpr uint32_t kClients = 8;

// Group 0 has three slices, group 1 one (as MLA has). Each of the devices gives
// memory for so many blocks of both.
protocol::Geometry MakeGeometry(uint32_t blocks_each, uint32_t devices,
                                uint32_t gpu_blocks_each) {
  NamespaceSpec spec;
  spec.name = "sim";
  spec.groups = {OpaqueGroup(16, 4096, World::kSlices),
                 OpaqueGroup(16, 4096, 1)};
  auto geometry = protocol::PlanGeometry(
      spec, uint64_t{blocks_each} * (World::kSlices + 1) * 4096, 8 * 4096);
  KVFERRY_CHECK(geometry.ok());
  std::vector<protocol::GpuQuota> quotas;
  for (uint32_t device = 0; device < devices; ++device) {
    quotas.push_back(
        {.device = device,
         .bytes = uint64_t{gpu_blocks_each} * (World::kSlices + 1) * 4096});
  }
  KVFERRY_CHECK(protocol::AddGpuPools(quotas, &*geometry).ok());
  return *geometry;
}

}  // namespace

World::World(uint64_t seed)
    : random_(seed),
      // A third of the seeds let time pass so fast that everybody is late.
      pace_ms_(seed % 3 == 1 ? 30 : 5),
      // In half of them the daemon is slow to take in what it is told, which
      // readers of the writers' words do not wait for.
      pump_percent_(seed % 4 < 2 ? 20 : 100),
      // From a handful of blocks (everything is short) to where a session's
      // grants (1 %) are not zero.
      // A GPU has less, from next to nothing to what is hardly ever short and
      // of which there are grants, too.
      geometry_(MakeGeometry(
          seed % 2 == 0 ? 12 + seed % 30 : 100 + seed % 120, seed / 12 % 3,
          seed % 2 == 0 ? 3 + seed % 4 * 3 : 30 + seed / 2 % 3 * 60)),
      deaths_permille_(seed % 3 == 2 ? 15 : 1),
      index_(protocol::IndexFileBytes(geometry_.bucket_count)),
      state_(protocol::StateFileBytes(geometry_.block_capacity)),
      memories_(1 + geometry_.gpu_pools.size()),
      pages_(uint64_t{geometry_.block_capacity} * kSlices * kLayers),
      wakes_(protocol::kPublicationSlots),
      leases_(this) {
  core::NamespaceConfig config;
  config.epoch = 1;
  config.geometry = geometry_;
  config.gpu = {.high_watermark = 0.5 + static_cast<double>(seed % 6) / 10,
                .low_watermark = 0.4,
                .promotion_bytes_per_second = seed % 5 * 60 * 4096};
  core_ = std::make_unique<core::NamespaceCore>(
      config,
      core::NamespaceMemory{index_.At<protocol::IndexHeader>(0),
                            state_.At<protocol::StateHeader>(0)},
      std::array<std::byte, 32>{}, NamespaceSalt{});
  MakeGpus();
  if (seed % 25 != 4) return;
  // All slots but three are somebody's; each session has 255 records.
  constexpr uint32_t kEach = 240;
  for (uint32_t left = protocol::kPublicationSlots - 3; left > 0;) {
    const uint32_t count = std::min(left, kEach);
    auto hoarder = std::make_unique<Hoarder>(this, next_session_++, count);
    const absl::Status added = core_->AddSession(
        hoarder->session(), true, hoarder->memory(), hoarder.get(), now_ms_);
    if (!added.ok()) Fail(std::string(added.message()));
    hoarder->OpenAll();
    hoarders_.push_back(std::move(hoarder));
    left -= count;
  }
}

World::~World() = default;

void World::MakeGpus() {
  for (uint32_t p = 0; p < geometry_.gpu_pools.size(); p += 2) {
    gpus_.push_back(
        std::make_unique<FakeGpu>(this, geometry_.gpu_pools[p].device,
                                  std::vector<uint32_t>{p + 1, p + 2}));
  }
}

std::unique_ptr<Client> World::MakeClient(uint16_t session) {
  switch (Random(10)) {
    case 0:
    case 1:
      return std::make_unique<Reader>(this, session);
    case 2:
    case 3:
    case 4:
      return std::make_unique<StreamReader>(this, session);
    case 5:
      return std::make_unique<Publisher>(this, session, 0b011);
    case 6:
      return std::make_unique<Publisher>(this, session, 0b100);
    default:
      return std::make_unique<Publisher>(this, session, 0b111);
  }
}

void World::AddClients() {
  while (clients_.size() < kClients) {
    std::unique_ptr<Client> client = MakeClient(next_session_++);
    const absl::Status added = core_->AddSession(
        client->session(), true, client->memory(), client.get(), now_ms_);
    if (!added.ok()) Fail(std::string(added.message()));
    if (!gpus_.empty() && Chance(65)) {
      const uint32_t device =
          gpus_[Random(static_cast<uint32_t>(gpus_.size()))]->device();
      client->UseDevice(device);
      const absl::Status opened =
          core_->SetSessionGpu(client->session(), device);
      if (!opened.ok()) Fail(std::string(opened.message()));
    }
    clients_.push_back(std::move(client));
  }
}

void World::WrapProgressFiles() {
  for (uint32_t i = 0; i < protocol::kSessionsPerNamespaceMax; ++i) {
    Hoarder passer_by(this, next_session_++, 0);
    const absl::Status added = core_->AddSession(
        passer_by.session(), false, passer_by.memory(), &passer_by, now_ms_);
    if (!added.ok()) Fail(std::string(added.message()));
    core_->RemoveSession(passer_by.session(), now_ms_);
  }
}

void World::Clear() {
  for (const auto& client : clients_) {
    for (const BlockUse& use : client->writable()) {
      // Not what it only offered: that is begun under the new content epoch.
      if (state(use.first).generation == use.second) cleared_.insert(use);
    }
  }
  core_->Clear();
}

void World::Operate() {
  switch (Random(36)) {
    case 0:
      Clear();
      return;
    case 1:
    case 2:
    case 3:
      leases_.HoldReady();
      return;
    case 4:
    case 5:
      leases_.ReleaseSome();
      return;
    case 6:
    case 7:
      leases_.ExtendSome();
      return;
    case 8:
      if (Chance(2)) WrapProgressFiles();
      return;
    case 9:
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
      leases_.HoldInFlight(*clients_[Random(kClients)]);
      return;
    case 15:
    case 16:
    case 17:
    case 18:
    case 19:
    case 20:
      core_->Evict(absl::StrCat(absl::Hex(Random(16))), 1 + Random(5), now_ms_);
      return;
    default:
      core_->Evict("", 1 + Random(5), now_ms_);
      return;
  }
}

void World::Remove(size_t which) {
  const uint16_t session = clients_[which]->session();
  const uint64_t before = core_->counters().published_blocks;
  if (clients_[which]->device().has_value()) {
    for (const BlockUse& use : clients_[which]->writable()) {
      const uint32_t pool = PoolOf(use.first);
      ghosts_.push_back(
          {use.first, memories_[pool], now_ms_ + protocol::kGpuRestMs});
    }
  }
  core_->RemoveSession(session, now_ms_);
  totals_.wills += core_->counters().published_blocks - before;
  leases_.SessionEnded(session);
  clients_.erase(clients_.begin() + static_cast<std::ptrdiff_t>(which));
}

void World::TakeWakes() {
  const auto* first = &publication(0);
  for (const std::atomic<uint32_t>* word : core_->TakeWakes()) {
    const auto* record = reinterpret_cast<const protocol::PublicationRecord*>(
        reinterpret_cast<const std::byte*>(word) -
        offsetof(protocol::PublicationRecord, changes));
    ++wakes_.at(static_cast<size_t>(record - first));
  }
}

uint32_t World::Some(bool (*is)(const Client&)) {
  const uint32_t first = Random(kClients);
  for (uint32_t i = 0; i < kClients; ++i) {
    if (is(*clients_[(first + i) % kClients])) return (first + i) % kClients;
  }
  return first;
}

void World::Step() {
  ++steps_done_;
  const std::vector<protocol::SegmentPlan> plans =
      protocol::PlanSegments(geometry_);
  if (segments_added_ < plans.size() && Chance(segments_added_ < 2 ? 50 : 2)) {
    core_->AddSegment(plans[segments_added_++]);
  }
  AddClients();
  now_ms_ += Random(pace_ms_);
  StepGpus();
  const uint32_t dice = Random(1000);
  if (dice < 720) {
    clients_[Random(kClients)]->Step();
  } else if (dice < 900) {
    // The daemon may take in what a client left that died a moment ago.
    if (!Chance(pump_percent_)) return;
    Client& client =
        *clients_[Some([](const Client& c) { return c.posted(); })];
    if (!client.dead() || Chance(50)) client.Pump();
  } else if (dice < 950) {
    core_->Tick(now_ms_);
    core_->TakePokes();
  } else if (dice < 988) {
    Operate();
  } else if (dice < 992) {
    clients_[Random(kClients)]->Die();
  } else {
    const uint32_t which = Some([](const Client& c) { return c.dead(); });
    if (clients_[which]->dead()) Remove(which);
  }
  if (Chance(80)) TakeWakes();
}

void World::StepGpus() {
  for (const auto& gpu : gpus_) {
    if (Chance(50)) gpu->Step();
  }
  std::erase_if(ghosts_, [this](const Ghost& ghost) {
    return now_ms_ >= ghost.until_ms;
  });
  if (ghosts_.empty() || !Chance(20)) return;
  const Ghost& ghost = ghosts_[Random(static_cast<uint32_t>(ghosts_.size()))];
  if (memories_[PoolOf(ghost.block)] == ghost.incarnation) {
    Scribble(ghost.block);
  }
}

void World::CheckPins(const Client& client) {
  auto stands = [this](const BlockUse& use, bool may_be_written) {
    const protocol::BlockStateWord now = state(use.first);
    return now.generation == use.second &&
           (now.state == protocol::BlockState::kReady ||
            now.state == protocol::BlockState::kQuarantined ||
            (may_be_written && now.state == protocol::BlockState::kPublishing));
  };
  for (const BlockUse& use : client.validated()) {
    if (stands(use, false)) continue;
    Fail(absl::StrCat("block ", use.first,
                      " was taken from under a validated pin"));
  }
  for (const BlockUse& use : client.followed()) {
    if (stands(use, true)) continue;
    Fail(absl::StrCat("block ", use.first,
                      " was taken from under who followed it"));
  }
  for (const BlockUse& use : client.promised()) {
    const protocol::BlockStateWord now = state(use.first);
    if (now.generation == use.second &&
        now.state != protocol::BlockState::kQuarantined) {
      continue;
    }
    if (uncopied_.contains(use)) continue;
    Fail(absl::StrCat("block ", use.first,
                      " was whole by its writers' words, and was given up"));
  }
}

void World::CheckWrites(const Client& client) {
  for (const BlockUse& use : client.writable()) {
    const protocol::BlockStateWord now = state(use.first);
    const bool begun = now.generation == use.second &&
                       (now.state == protocol::BlockState::kPublishing ||
                        now.state == protocol::BlockState::kQuarantined);
    const bool offered = now.state == protocol::BlockState::kGranted &&
                         now.owner == client.session();
    if (!begun && !offered) {
      Fail(absl::StrCat("block ", use.first,
                        " was taken from a rank that may write it"));
    }
    writers_.emplace_back(use, client.identity());
  }
}

void World::Check() {
  writers_.clear();
  for (const auto& client : clients_) {
    CheckPins(*client);
    CheckWrites(*client);
  }
  std::sort(writers_.begin(), writers_.end());
  for (size_t i = 1; i < writers_.size(); ++i) {
    if (writers_[i].first.first == writers_[i - 1].first.first &&
        writers_[i].second != writers_[i - 1].second) {
      Fail(absl::StrCat("block ", writers_[i].first.first,
                        " is written by two publications"));
    }
  }
  leases_.Check();
  const absl::Status status = core_->CheckInvariants();
  if (!status.ok()) Fail(std::string(status.message()));
}

void World::Rest() {
  for (size_t which = clients_.size(); which-- > 0;) {
    if (clients_[which]->dead()) {
      Remove(which);
    } else {
      clients_[which]->WindDown();
    }
  }
  bool idle = false;
  // Longer than a publication that nobody finishes lingers.
  constexpr uint32_t kRounds = 6000;
  for (uint32_t round = 0; round < kRounds && !idle && failure_.ok(); ++round) {
    idle = true;
    for (const auto& client : clients_) {
      client->Step();
      client->Pump();
      idle = idle && client->idle();
    }
    for (const auto& gpu : gpus_) {
      gpu->WindDown();
      gpu->Step();
      idle = idle && gpu->idle();
    }
    now_ms_ += 5;
    if (round % 10 == 0) core_->Tick(now_ms_);
    TakeWakes();
  }
  totals_.published += core_->counters().published_blocks;
  totals_.evicted += core_->counters().evicted_blocks;
  totals_.aborted += core_->counters().aborted_blocks;
  totals_.standbys += core_->counters().standby_blocks;
  totals_.adopted += core_->counters().adopted_blocks;
  totals_.stalls += core_->counters().stalled_publications;
  for (uint32_t p = 1; p <= geometry_.gpu_pools.size(); ++p) {
    const core::GpuPoolCounts counts = core_->gpu_counts(p);
    totals_.written_behind += counts.written_behind;
    totals_.dropped += counts.dropped;
    totals_.promoted += counts.promoted;
    totals_.spilled += counts.spilled;
    totals_.lost += counts.lost;
  }
  if (!idle) Fail("a client waits for what does not come");
  now_ms_ += protocol::kPublicationLingerMs + 1;
  core_->Tick(now_ms_);
  // That may have been what made the last blocks ready.
  for (const auto& gpu : gpus_) {
    for (uint32_t i = 0; i < kRounds && !gpu->idle(); ++i) gpu->Step();
  }
  Check();
  CheckRest();
}

void World::CheckRest() {
  for (uint32_t g = 0; g < 2; ++g) {
    const core::GroupCounts counts = core_->counts(g);
    if (counts.publishing != 0 || counts.quarantined != 0 ||
        counts.in_io != 0) {
      Fail(absl::StrCat("at rest ", counts.publishing,
                        " blocks are publishing, ", counts.quarantined,
                        " quarantined and ", counts.in_io, " being copied"));
    }
  }
  for (uint32_t p = 1; p <= geometry_.gpu_pools.size(); ++p) {
    const core::GpuPoolCounts counts = core_->gpu_counts(p);
    if (counts.publishing != 0 || counts.quarantined != 0 ||
        counts.in_io != 0 || counts.not_clean != 0 || counts.absent != 0) {
      Fail(absl::StrCat("at rest GPU pool ", p, " has not come to rest"));
    }
  }
  for (const auto& client : clients_) {
    core_->RemoveSession(client->session(), now_ms_);
  }
  clients_.clear();
  for (const auto& hoarder : hoarders_) {
    core_->RemoveSession(hoarder->session(), now_ms_);
  }
  for (uint32_t g = 0; g < 2; ++g) {
    if (core_->counts(g).granted != 0) Fail("grants outlive their session");
  }
  for (uint32_t p = 1; p <= geometry_.gpu_pools.size(); ++p) {
    if (core_->gpu_counts(p).granted != 0) Fail("grants outlive their session");
  }
  if (core_->publication_count() != 0) Fail("publications outlive everybody");
  for (uint32_t slot = 0; slot < protocol::kPublicationSlots; ++slot) {
    if (publication(slot).phase ==
        static_cast<uint32_t>(protocol::PublicationPhase::kOpen)) {
      Fail(absl::StrCat("at rest publication slot ", slot, " is open"));
    }
  }
  Check();
}

absl::Status World::Run(uint32_t steps) {
  for (uint32_t i = 0; i < steps && failure_.ok(); ++i) {
    Step();
    Check();
  }
  if (failure_.ok()) Rest();
  return failure_;
}

}  // namespace kvferry::sim
