#include "tests/sim/lease_watch.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "tests/sim/client.h"
#include "tests/sim/world.h"

namespace kvferry::sim {

using protocol::PublicationRef;
using protocol::ResidenceState;

namespace {
constexpr uint64_t kLeaseMs = 1500;
}  // namespace

void LeaseWatch::HoldReady() {
  const uint64_t identity = world_.RecentIdentity();
  Held held;
  held.group = World::GroupOf(identity);
  held.keys = world_.ChainOf(identity, 1 + world_.Random(3));
  held.chain = held.keys;
  core::LeaseRequest request;
  request.group = held.group;
  request.keys = held.keys;
  request.consumers = 1 + world_.Random(2);
  request.deadline_ms = world_.now_ms() + kLeaseMs;
  const auto lease = world_.core().HoldLease(request);
  if (!lease.ok()) return;
  if (world_.core().FindLease(*lease)->blocks.size() != held.keys.size()) {
    world_.Fail("a ticket for ready blocks does not hold them all");
  }
  leases_[*lease] = std::move(held);
  ++world_.totals().leases;
}

void LeaseWatch::HoldInFlight(const Client& client) {
  const OpenHandle* open = client.open_handle();
  if (open == nullptr) return;
  Held held;
  held.group = open->group;
  held.chain = open->chain;
  held.keys = open->chain;
  held.keys.resize(1 + world_.Random(World::kChainBlocks));
  held.minter = {client.session(), open->handle};
  core::LeaseRequest request;
  request.group = held.group;
  request.keys = held.keys;
  request.consumers = 1 + world_.Random(2);
  request.deadline_ms = world_.now_ms() + kLeaseMs + world_.Random(3000);
  request.in_flight = true;
  request.session = client.session();
  request.handle = open->handle;
  const auto lease = world_.core().HoldLease(request);
  if (!lease.ok()) {
    if (!absl::IsResourceExhausted(lease.status())) {
      world_.Fail(std::string(lease.status().message()));
    }
    return;
  }
  held.generation = world_.core().FindLease(*lease)->publication.generation;
  leases_[*lease] = std::move(held);
  ++world_.totals().leases_in_flight;
}

void LeaseWatch::ExtendSome() {
  for (auto& [id, held] : leases_) {
    if (world_.core().FindLease(id) == nullptr ||
        held.keys.size() == held.chain.size() || world_.Chance(50)) {
      continue;
    }
    const BlockKey next = held.chain[held.keys.size()];
    const absl::Status status =
        world_.core().ExtendLease(id, held.minter.first, {&next, 1}, 0);
    if (status.ok()) {
      held.keys.push_back(next);
    } else if (!absl::IsResourceExhausted(status)) {
      world_.Fail(std::string(status.message()));
    }
    return;
  }
}

void LeaseWatch::ReleaseSome() {
  if (leases_.empty()) return;
  const uint64_t lease = leases_.begin()->first;
  (void)world_.core().ReleaseLease(lease);
  if (world_.core().FindLease(lease) == nullptr) leases_.erase(lease);
}

void LeaseWatch::Check() {
  std::erase_if(leases_, [this](const auto& lease) {
    return world_.core().FindLease(lease.first) == nullptr;
  });
  for (auto& [id, held] : leases_) {
    CheckKeys(id, held);
    if (held.generation != 0) CheckHandOver(id, held);
  }
}

void LeaseWatch::CheckKeys(uint64_t id, Held& held) {
  for (const BlockKey& key : held.keys) {
    if (held.ready.contains(key)) continue;
    const uint32_t slot = world_.FindSlot(key);
    if (slot == core::kNoSlot) continue;
    const auto residence = protocol::UnpackResidence(world_.host(slot));
    if (residence.state != ResidenceState::kReady) continue;
    held.ready[key] = {residence.block, residence.generation};
  }
  for (const auto& [key, use] : held.ready) {
    const protocol::BlockStateWord now = world_.state(use.first);
    if (now.generation != use.second ||
        now.state != protocol::BlockState::kReady) {
      world_.Fail(
          absl::StrCat("block ", use.first, " was taken from ticket ", id));
    }
  }
}

void LeaseWatch::CheckHandOver(uint64_t id, const Held& held) {
  const core::Lease& lease = *world_.core().FindLease(id);
  const std::string bytes = world_.core().HandOverOf(lease);
  if (!bytes.empty() && !set_[held.generation].contains(bytes)) {
    world_.Fail(absl::StrCat("ticket ", id, " has ", bytes.size(),
                             " bytes of hand-over data that nobody set"));
  }
  if (ended_.contains(held.minter) && setters_.contains(held.minter)) {
    ++world_.totals().hand_overs;
    if (bytes.empty()) {
      world_.Fail(absl::StrCat("ticket ", id, " has lost its hand-over data"));
    }
  }
  const PublicationRef follow = world_.core().Follow(lease);
  if (follow.followable() &&
      (follow.generation != held.generation ||
       world_.publication(follow.slot).generation != held.generation)) {
    world_.Fail(absl::StrCat("ticket ", id, " follows generation ",
                             follow.generation, ", its own is ",
                             held.generation));
  }
}

void LeaseWatch::HandOverSet(uint16_t session, uint32_t handle,
                             uint32_t generation, const std::string& bytes) {
  set_[generation].insert(bytes);
  setters_.insert({session, handle});
}

void LeaseWatch::HandleEnded(uint16_t session, uint32_t handle) {
  ended_.insert({session, handle});
}

void LeaseWatch::SessionEnded(uint16_t session) {
  for (const Minter& setter : setters_) {
    if (setter.first == session) ended_.insert(setter);
  }
}

bool LeaseWatch::Hint(uint32_t* group, std::vector<BlockKey>* keys,
                      PublicationRef* publication) const {
  if (leases_.empty()) return false;
  const auto which = world_.Random(static_cast<uint32_t>(leases_.size()));
  const auto& [id, held] = *std::next(leases_.begin(), which);
  const core::Lease* lease = world_.core().FindLease(id);
  if (lease == nullptr) return false;
  const PublicationRef follow = world_.core().Follow(*lease);
  if (!follow.followable()) return false;
  *group = held.group;
  *keys = held.keys;
  *publication = follow;
  return true;
}

}  // namespace kvferry::sim
