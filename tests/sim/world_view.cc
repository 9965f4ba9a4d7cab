// What of the world its clients see: keys, pages, the shared files.

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/sim/client.h"
#include "tests/sim/world.h"

namespace kvferry::sim {
namespace {

uint64_t Mix(uint64_t x) {  // splitmix64's finaliser
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

uint32_t World::Random(uint32_t below) {
  return static_cast<uint32_t>(random_() % below);
}

void World::Fail(std::string what) {
  if (failure_.ok()) {
    failure_ =
        absl::InternalError(absl::StrCat("step ", steps_done_, ": ", what));
  }
}

uint32_t World::FindSlot(const BlockKey& key) const {
  const protocol::BucketPair pair =
      protocol::BucketsOf(key.lo, key.hi, geometry_.bucket_count);
  for (uint32_t b : {pair.first, pair.second}) {
    for (uint32_t i = 0; i < protocol::kSlotsPerBucket; ++i) {
      const uint32_t slot = b * protocol::kSlotsPerBucket + i;
      if ((host(slot) != 0 || gpu(slot) != 0) && this->key(slot) == key) {
        return slot;
      }
    }
  }
  return core::kNoSlot;
}

uint64_t World::host(uint32_t slot) const {
  return index_
      .At<protocol::Bucket>(
          protocol::kHeaderBytes)[slot / protocol::kSlotsPerBucket]
      .host[slot % protocol::kSlotsPerBucket];
}

uint64_t World::gpu(uint32_t slot) const {
  return index_
      .At<protocol::Bucket>(
          protocol::kHeaderBytes)[slot / protocol::kSlotsPerBucket]
      .gpu[slot % protocol::kSlotsPerBucket];
}

uint64_t World::aux(uint32_t slot) const {
  return index_
      .At<protocol::Bucket>(
          protocol::kHeaderBytes)[slot / protocol::kSlotsPerBucket]
      .aux[slot % protocol::kSlotsPerBucket];
}

BlockKey World::key(uint32_t slot) const {
  const protocol::Bucket& bucket = index_.At<protocol::Bucket>(
      protocol::kHeaderBytes)[slot / protocol::kSlotsPerBucket];
  return {bucket.key_lo[slot % protocol::kSlotsPerBucket],
          bucket.key_hi[slot % protocol::kSlotsPerBucket]};
}

protocol::BlockStateWord World::state(uint32_t block) const {
  return protocol::UnpackBlockState(
      state_.At<protocol::BlockStateRecord>(protocol::kHeaderBytes)[block]
          .word.load());
}

std::shared_ptr<FakeFile> World::ProgressFile(uint8_t number) const {
  const auto session = core_->SessionOfProgressFile(number);
  if (!session.ok()) return nullptr;
  for (const auto& client : clients_) {
    if (client->session() == *session) return client->progress();
  }
  return nullptr;
}

uint32_t World::EndedGeneration() {
  for (uint32_t tries = 0; tries < 4; ++tries) {
    const protocol::PublicationRecord& record =
        publication(Random(protocol::kPublicationSlots / 64));
    if (record.phase ==
        static_cast<uint32_t>(protocol::PublicationPhase::kEnded)) {
      return record.generation;
    }
  }
  return 0;
}

uint64_t World::NewIdentity(bool shared) {
  // Those that are written whole are joined, too, sometimes.
  if (shared || Chance(20)) shared_identities_.push_back(next_identity_);
  if (shared_identities_.size() > 2) shared_identities_.pop_front();
  return next_identity_++;
}

uint64_t World::SharedIdentity() {
  if (shared_identities_.empty()) return 0;
  return shared_identities_[Random(
      static_cast<uint32_t>(shared_identities_.size()))];
}

uint64_t World::RecentIdentity() {
  // Sometimes one that is about to come.
  const uint64_t back = Random(9);
  return next_identity_ > back ? next_identity_ - back : next_identity_;
}

std::vector<BlockKey> World::ChainOf(uint64_t identity, uint32_t length) const {
  std::vector<BlockKey> keys;
  const uint64_t root = identity / 4;
  uint64_t path = GroupOf(identity) * 1000000 + root / 2;
  for (uint32_t i = 0; i < length; ++i) {
    path = Mix(path * 31 + (i < kChainBlocks / 2 ? 0 : root));
    keys.push_back({Mix(path), Mix(path + 1)});
  }
  return keys;
}

uint64_t World::Content(const BlockKey& key, uint32_t slice, uint32_t layer) {
  return Mix(key.lo ^ Mix(key.hi + slice * 16 + layer));
}

uint64_t& World::page(uint32_t block, uint32_t slice, uint32_t layer,
                      uint32_t incarnation) {
  const uint32_t pool = PoolOf(block);
  if (pool == 0 || memories_[pool] == incarnation) {
    return page(block, slice, layer);
  }
  elsewhere_ = random_();
  return elsewhere_;
}

uint32_t World::PoolOf(uint32_t block) const {
  for (uint32_t p = 0; p < geometry_.gpu_pools.size(); ++p) {
    const protocol::GpuPoolPlan& pool = geometry_.gpu_pools[p];
    if (block >= pool.first_block &&
        block - pool.first_block < pool.block_count) {
      return p + 1;
    }
  }
  return 0;
}

uint32_t World::PoolFor(uint32_t group, std::optional<uint32_t> device) const {
  for (uint32_t p = 0; p < geometry_.gpu_pools.size(); ++p) {
    const protocol::GpuPoolPlan& pool = geometry_.gpu_pools[p];
    if (pool.group == group && device == pool.device) return p + 1;
  }
  return 0;
}

void World::Scribble(uint32_t block) {
  ++totals_.haunted;
  page(block, Random(kSlices), Random(kLayers)) = random_();
}

void World::NewMemory(uint32_t pool) {
  memories_[pool] = incarnation(pool);
  const protocol::GpuPoolPlan& plan = geometry_.gpu_pools[pool - 1];
  for (uint32_t i = 0; i < plan.block_count; ++i) {
    for (uint32_t slice = 0; slice < kSlices; ++slice) {
      for (uint32_t layer = 0; layer < kLayers; ++layer) {
        page(plan.first_block + i, slice, layer) = random_();
      }
    }
  }
}

bool World::Holds(uint32_t group, uint32_t block, const BlockKey& key,
                  uint32_t incarnation) {
  bool holds = true;
  for (uint32_t s = 0; s < geometry_.groups[group].slice_count; ++s) {
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      CountRead();
      holds =
          holds && page(block, s, layer, incarnation) == Content(key, s, layer);
    }
  }
  return holds;
}

void World::CheckNotCleared(uint64_t residence_word) {
  const auto residence = protocol::UnpackResidence(residence_word);
  if (!cleared_.contains({residence.block, residence.generation})) return;
  Fail(absl::StrCat("block ", residence.block,
                    " hits, but was being written when its namespace was "
                    "cleared"));
}

}  // namespace kvferry::sim
