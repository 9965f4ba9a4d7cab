#include "tests/sim/world.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "tests/sim/client.h"

namespace kvferry::sim {
namespace {

constexpr uint32_t kClients = 6;

// Group 0 has three slices, group 1 one (as MLA has).
protocol::Geometry MakeGeometry(uint32_t blocks_each) {
  NamespaceSpec spec;
  spec.name = "sim";
  spec.groups = {OpaqueGroup(16, 4096, 3), OpaqueGroup(16, 4096, 1)};
  auto geometry = protocol::PlanGeometry(
      spec, uint64_t{blocks_each} * (3 + 1) * 4096, 8 * 4096);
  KVFERRY_CHECK(geometry.ok());
  return *geometry;
}

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

World::World(uint64_t seed)
    : random_(seed),
      // From a handful of blocks (everything is short) to a few hundred, where
      // a session's grants (1 %) are not zero.
      geometry_(
          MakeGeometry(seed % 3 == 0 ? 12 + seed % 30 : 150 + seed % 300)),
      index_(protocol::IndexFileBytes(geometry_.bucket_count)),
      state_(protocol::StateFileBytes(geometry_.block_capacity)),
      pages_(uint64_t{geometry_.block_capacity} * protocol::kSlicesMax) {
  core::NamespaceConfig config;
  config.epoch = 1;
  config.geometry = geometry_;
  core_ = std::make_unique<core::NamespaceCore>(
      config,
      core::NamespaceMemory{index_.At<protocol::IndexHeader>(0),
                            state_.At<protocol::StateHeader>(0)},
      std::array<std::byte, 32>{}, NamespaceSalt{});
}

World::~World() = default;

uint32_t World::Random(uint32_t below) {
  return static_cast<uint32_t>(random_() % below);
}

void World::Fail(std::string what) {
  if (failure_.ok()) {
    failure_ =
        absl::InternalError(absl::StrCat("step ", steps_done_, ": ", what));
  }
}

protocol::BlockStateWord World::state(uint32_t block) const {
  return protocol::UnpackBlockState(
      state_.At<protocol::BlockStateRecord>(protocol::kHeaderBytes)[block]
          .word.load());
}

std::vector<BlockKey> World::Chain(uint32_t group, uint32_t root,
                                   uint32_t length) const {
  std::vector<BlockKey> keys;
  uint64_t path = group * 1000 + root / 2;  // two roots share their first half
  for (uint32_t i = 0; i < length; ++i) {
    path = Mix(path * 31 + (i < 4 ? 0 : root));
    keys.push_back({Mix(path), Mix(path + 1)});
  }
  return keys;
}

uint64_t World::Content(const BlockKey& key, uint32_t slice) {
  return Mix(key.lo ^ Mix(key.hi + slice));
}

void World::AddClients() {
  while (clients_.size() < kClients) {
    const uint16_t session = next_session_++;
    std::unique_ptr<Client> client;
    switch (Random(5)) {
      case 0:
      case 1:
        client = std::make_unique<Reader>(this, session);
        break;
      case 2:
        client = std::make_unique<Publisher>(this, session, 0b111);
        break;
      case 3:
        client = std::make_unique<Publisher>(this, session, 0b011);
        break;
      case 4:
        client = std::make_unique<Publisher>(this, session, 0b100);
        break;
    }
    const absl::Status added = core_->AddSession(
        session, true, client->memory(), client.get(), now_ms_);
    if (!added.ok()) Fail(std::string(added.message()));
    clients_.push_back(std::move(client));
  }
}

void World::Operate() {
  switch (Random(40)) {
    case 0: {
      for (const auto& client : clients_) {
        for (const BlockUse& use : client->writable()) cleared_.insert(use);
      }
      core_->Clear();
      leases_.clear();
      return;
    }
    case 1:
    case 2:
      core_->Evict("", 1 + Random(5), now_ms_);
      return;
    case 3:
    case 4:
      core_->Evict(absl::StrCat(absl::Hex(Random(16))), 1 + Random(5), now_ms_);
      return;
    case 5:
    case 6:
    case 8:
    case 9:
    case 10: {
      const uint32_t group = Random(2);
      const std::vector<BlockKey> keys = Chain(group, Random(6), 1 + Random(3));
      auto lease = core_->HoldLease(group, keys, 1 + Random(2), now_ms_ + 1000);
      if (!lease.ok()) return;
      std::vector<BlockUse> uses;
      for (uint32_t block : core_->FindLease(*lease)->blocks) {
        uses.emplace_back(block, state(block).generation);
      }
      leases_[*lease] = uses;
      ++totals_.leases;
      return;
    }
    case 7:
      if (!leases_.empty()) {
        const uint64_t lease = leases_.begin()->first;
        (void)core_->ReleaseLease(lease);
        if (core_->FindLease(lease) == nullptr) leases_.erase(lease);
      }
      return;
    default:
      return;
  }
}

void World::Step() {
  ++steps_done_;
  const std::vector<protocol::SegmentPlan> plans =
      protocol::PlanSegments(geometry_);
  if (segments_added_ < plans.size() && Chance(segments_added_ < 2 ? 50 : 2)) {
    core_->AddSegment(plans[segments_added_++]);
  }
  AddClients();
  now_ms_ += Random(30);
  const uint32_t which = Random(kClients);
  Client& client = *clients_[which];
  const uint32_t dice = Random(1000);
  if (dice < 550) {
    client.Step();
  } else if (dice < 900) {
    if (!client.dead()) client.Pump();
  } else if (dice < 960) {
    core_->Tick(now_ms_);
    core_->TakePokes();
    std::erase_if(leases_, [this](const auto& lease) {
      return core_->FindLease(lease.first) == nullptr;
    });
  } else if (dice < 990) {
    Operate();
  } else if (dice < 994) {
    client.Die();
  } else if (client.dead()) {
    core_->RemoveSession(client.session(), now_ms_);
    clients_.erase(clients_.begin() + which);
  }
}

void World::Check() {
  for (const auto& client : clients_) {
    for (const auto& [block, generation] : client->validated()) {
      const protocol::BlockStateWord now = state(block);
      if (now.generation != generation ||
          (now.state != protocol::BlockState::kReady &&
           now.state != protocol::BlockState::kQuarantined)) {
        Fail(absl::StrCat("block ", block,
                          " was taken from under a validated pin"));
      }
    }
    for (const auto& [block, generation] : client->writable()) {
      const protocol::BlockStateWord now = state(block);
      if (now.generation != generation ||
          (now.state != protocol::BlockState::kPublishing &&
           now.state != protocol::BlockState::kQuarantined)) {
        Fail(absl::StrCat("block ", block,
                          " was taken from a rank that may write it"));
      }
    }
  }
  for (const auto& [lease, uses] : leases_) {
    for (const auto& [block, generation] : uses) {
      const protocol::BlockStateWord now = state(block);
      if (now.generation != generation ||
          now.state != protocol::BlockState::kReady) {
        Fail(absl::StrCat("block ", block, " was taken from ticket ", lease));
      }
    }
  }
  const absl::Status status = core_->CheckInvariants();
  if (!status.ok()) Fail(std::string(status.message()));
}

void World::Rest() {
  // Nobody dies or starts anything any more: every question is answered, and
  // every block is free, granted or ready in the end.
  for (auto it = clients_.begin(); it != clients_.end();) {
    if ((*it)->dead()) {
      core_->RemoveSession((*it)->session(), now_ms_);
      it = clients_.erase(it);
    } else {
      (*it++)->WindDown();
    }
  }
  bool idle = false;
  for (uint32_t round = 0; round < 5000 && !idle && failure_.ok(); ++round) {
    idle = true;
    for (const auto& client : clients_) {
      client->Step();
      client->Pump();
      idle = idle && client->idle();
    }
    now_ms_ += 5;
  }
  totals_.published += core_->counters().published_blocks;
  totals_.evicted += core_->counters().evicted_blocks;
  totals_.aborted += core_->counters().aborted_blocks;
  if (!idle) Fail("a client waits for an answer that does not come");
  now_ms_ += protocol::kPublicationLingerMs + 1;
  core_->Tick(now_ms_);
  Check();
  for (uint32_t g = 0; g < 2; ++g) {
    const core::GroupCounts counts = core_->counts(g);
    if (counts.publishing != 0 || counts.quarantined != 0) {
      Fail(absl::StrCat("at rest ", counts.publishing,
                        " blocks are publishing and ", counts.quarantined,
                        " quarantined"));
    }
  }
  for (const auto& client : clients_) {
    core_->RemoveSession(client->session(), now_ms_);
  }
  clients_.clear();
  for (uint32_t g = 0; g < 2; ++g) {
    if (core_->counts(g).granted != 0) Fail("grants outlive their session");
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
