#ifndef KVFERRY_TESTS_SIM_WORLD_H_
#define KVFERRY_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "daemon/core/namespace_core.h"
#include "protocol/geometry.h"
#include "tests/sim/lease_watch.h"
#include "tests/sim/memory.h"
#include "tests/sim/totals.h"

namespace kvferry::sim {

class Client;
class FakeGpu;
class Hoarder;

// A use of a block: what a residence word names.
using BlockUse = std::pair<uint32_t, uint32_t>;  // block, generation

// One namespace of the real core under fake clients, a fake clock and fake
// copies, all driven by one seed: the same seed gives the same run.
//
// Faults it makes: clients die between any two of their steps (and the daemon
// learns of it later), publishers stand still and go on, reply rings are small
// and drained late, touches are garbage, progress records say old things,
// publication slots and file numbers run short and are used again at once,
// operators clear and evict at any moment, tickets expire. In two thirds of the
// seeds there are GPU pools, whose devices die and come back (FakeGpu); and
// what a dead client was writing its device goes on writing for a while.
//
// What it checks after every step is listed at Check().
class World {
 public:
  // Pages are as many words as there are layers.
  static constexpr uint32_t kLayers = 2;
  static constexpr uint32_t kSlices = 3;
  static constexpr uint32_t kChainBlocks = 8;

  explicit World(uint64_t seed);
  ~World();

  // Runs `steps` steps and then lets everything come to rest.
  // Returns the first violation.
  absl::Status Run(uint32_t steps);

  const Totals& totals() const { return totals_; }

  // --- for clients ---
  Totals& totals() { return totals_; }
  void CountRead() { ++totals_.pages_read; }
  uint32_t Random(uint32_t below);
  bool Chance(uint32_t percent) { return Random(100) < percent; }
  core::NamespaceCore& core() { return *core_; }
  const protocol::Geometry& geometry() const { return geometry_; }
  uint64_t now_ms() const { return now_ms_; }
  void Fail(std::string what);

  // The index as a reader sees it: the slot (bucket * 8 + slot) of a key, or
  // core::kNoSlot, and what a slot says.
  uint32_t FindSlot(const BlockKey& key) const;
  uint64_t host(uint32_t slot) const;
  uint64_t gpu(uint32_t slot) const;
  uint64_t word(uint32_t slot, bool in_gpu) const {
    return in_gpu ? gpu(slot) : host(slot);
  }
  uint64_t aux(uint32_t slot) const;
  BlockKey key(uint32_t slot) const;
  protocol::BlockStateWord state(uint32_t block) const;
  const protocol::PublicationRecord& publication(uint32_t slot) const {
    return index_.At<protocol::PublicationRecord>(
        protocol::PublicationsOffset(geometry_.bucket_count))[slot];
  }
  // How often the daemon has woken those who wait for the slot's publication.
  uint64_t wakes(uint32_t slot) const { return wakes_[slot]; }
  // Null when no session has the number.
  std::shared_ptr<FakeFile> ProgressFile(uint8_t number) const;
  // Of some publication that has ended; 0 when none was found.
  uint32_t EndedGeneration();

  // Publications. Group and chain follow from the identity; neighbours write
  // the same chain, and the next ones share its first half.
  uint64_t NewIdentity(bool shared);
  // One of those that other ranks are to join; 0: none yet.
  uint64_t SharedIdentity();
  uint64_t RecentIdentity();
  static uint32_t GroupOf(uint64_t identity) {
    return static_cast<uint32_t>(identity % 2);
  }
  std::vector<BlockKey> ChainOf(uint64_t identity, uint32_t length) const;

  // What a writer of (key, slice) leaves in a layer of a page.
  static uint64_t Content(const BlockKey& key, uint32_t slice, uint32_t layer);
  uint64_t& page(uint32_t block, uint32_t slice, uint32_t layer) {
    return pages_[(uint64_t{block} * kSlices + slice) * kLayers + layer];
  }
  // The same through a mapping of the memory of that incarnation: of a memory
  // that is gone there is something else.
  uint64_t& page(uint32_t block, uint32_t slice, uint32_t layer,
                 uint32_t incarnation);
  // Whether every page of the block is what the key's writers leave there.
  bool Holds(uint32_t group, uint32_t block, const BlockKey& key,
             uint32_t incarnation);
  // The number of the block's pool; 0: it is in host memory.
  uint32_t PoolOf(uint32_t block) const;
  // The pool of a group on a device; 0: none.
  uint32_t PoolFor(uint32_t group, std::optional<uint32_t> device) const;
  // What the pool's record says.
  uint32_t incarnation(uint32_t pool) const {
    return index_.At<protocol::IndexHeader>(0)->gpu_pools[pool - 1].incarnation;
  }
  // Whether the block's memory is still that of the incarnation.
  bool Stands(uint32_t block, uint32_t incarnation) const {
    const uint32_t pool = PoolOf(block);
    return pool == 0 || this->incarnation(pool) == incarnation;
  }
  // Of what cannot be copied to the host the key leaves, whole as it was.
  void CopyFailed(uint32_t gpu_block) {
    uncopied_.emplace(gpu_block, state(gpu_block).generation);
  }
  // Some page of the block is overwritten.
  void Scribble(uint32_t block);
  // Of a device's steps, those with which it dies.
  uint32_t deaths_permille() const { return deaths_permille_; }
  // The pool has memory, with anything in it; or none.
  void NewMemory(uint32_t pool);
  void NoMemory(uint32_t pool) { memories_[pool] = 0; }
  // The use was not being written when its namespace was cleared.
  void CheckNotCleared(uint64_t residence_word);

  void HandOverSet(uint16_t session, uint32_t handle, uint32_t generation,
                   const std::string& bytes) {
    leases_.HandOverSet(session, handle, generation, bytes);
  }
  void HandleEnded(uint16_t session, uint32_t handle) {
    leases_.HandleEnded(session, handle);
  }
  bool Hint(uint32_t* group, std::vector<BlockKey>* keys,
            protocol::PublicationRef* publication) const {
    return leases_.Hint(group, keys, publication);
  }

 private:
  void Step();
  void AddClients();
  // A client of whom `is` is true, if there is one.
  uint32_t Some(bool (*is)(const Client&));
  std::unique_ptr<Client> MakeClient(uint16_t session);
  // Sessions come and go until the numbers of progress files are used again.
  void WrapProgressFiles();
  void Operate();
  void Clear();
  void Remove(size_t which);
  void MakeGpus();
  void StepGpus();
  void TakeWakes();
  // Validated pins stand on blocks that are ready or quarantined, under the
  // generation they were validated for, or being written if that is how they
  // were found; what every writer's word has passed becomes ready; a client
  // writes only into blocks that are publishing or quarantined under the
  // generation it was given (or granted, if it offered them), and no two
  // publications into one block; tickets keep what they promise
  // (LeaseWatch); and NamespaceCore::CheckInvariants.
  void Check();
  void CheckPins(const Client& client);
  void CheckWrites(const Client& client);
  // Nobody dies or starts anything any more: every question is answered,
  // nobody waits, and every block is free, granted or ready in the end.
  void Rest();
  void CheckRest();

  std::mt19937_64 random_;
  const uint32_t pace_ms_;  // of a step, at most
  const uint32_t pump_percent_;
  uint64_t now_ms_ = 1000;
  protocol::Geometry geometry_;
  const uint32_t deaths_permille_;
  FakeFile index_;
  FakeFile state_;
  std::unique_ptr<core::NamespaceCore> core_;
  std::vector<std::unique_ptr<Client>> clients_;
  // Sessions that keep publication slots open, in some seeds.
  std::vector<std::unique_ptr<Hoarder>> hoarders_;
  std::vector<std::unique_ptr<FakeGpu>> gpus_;
  // Blocks that devices of dead clients write: until when, through which
  // memory.
  struct Ghost {
    uint32_t block = 0;
    uint32_t incarnation = 0;
    uint64_t until_ms = 0;
  };
  std::vector<Ghost> ghosts_;
  // Incarnations of the memories that there are, by pool; 0: none.
  std::vector<uint32_t> memories_;
  uint64_t elsewhere_ = 0;
  std::vector<uint64_t> pages_;
  std::vector<uint64_t> wakes_;
  std::set<BlockUse> cleared_;
  std::set<BlockUse> uncopied_;
  // Uses that some client may write, and for which publication; of one Check.
  std::vector<std::pair<BlockUse, uint64_t>> writers_;
  LeaseWatch leases_;
  uint32_t segments_added_ = 0;
  uint16_t next_session_ = 0;
  uint64_t next_identity_ = 1;
  // Publications that more than one rank should join.
  std::deque<uint64_t> shared_identities_;
  absl::Status failure_;
  Totals totals_;
  uint64_t steps_done_ = 0;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_WORLD_H_
