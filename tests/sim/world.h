#ifndef KVFERRY_TESTS_SIM_WORLD_H_
#define KVFERRY_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "daemon/core/namespace_core.h"
#include "protocol/geometry.h"
#include "tests/sim/memory.h"

namespace kvferry::sim {

class Client;

// A use of a block: what a residence word names.
using BlockUse = std::pair<uint32_t, uint32_t>;  // block, generation

// One namespace of the real core under fake clients, a fake clock and fake
// copies, all driven by one seed: the same seed gives the same run.
//
// Faults it makes: clients die between any two of their steps (and the daemon
// learns of it later), reply rings are small and drained late, touches are
// garbage, operators clear and evict at any moment, tickets expire.
//
// What it checks after every step is listed at Check().
class World {
 public:
  explicit World(uint64_t seed);
  ~World();

  // Runs `steps` steps and then lets everything come to rest.
  // Returns the first violation.
  absl::Status Run(uint32_t steps);

  // What the run did, so that a simulation that does nothing is noticed.
  struct Totals {
    uint64_t published = 0;
    uint64_t evicted = 0;
    uint64_t aborted = 0;
    uint64_t pages_read = 0;
    uint64_t leases = 0;
  };
  const Totals& totals() const { return totals_; }

  // --- for clients ---
  void CountRead() { ++totals_.pages_read; }
  uint32_t Random(uint32_t below);
  bool Chance(uint32_t percent) { return Random(100) < percent; }
  core::NamespaceCore& core() { return *core_; }
  const protocol::Geometry& geometry() const { return geometry_; }
  const protocol::Bucket* buckets() const {
    return index_.At<protocol::Bucket>(protocol::kHeaderBytes);
  }
  protocol::BlockStateWord state(uint32_t block) const;
  uint64_t now_ms() const { return now_ms_; }
  // A chain of keys of one group; the same arguments give the same chain.
  std::vector<BlockKey> Chain(uint32_t group, uint32_t root,
                              uint32_t length) const;
  // What a writer of (key, slice) leaves in a page.
  static uint64_t Content(const BlockKey& key, uint32_t slice);
  uint64_t& page(uint32_t block, uint32_t slice) {
    return pages_[block * protocol::kSlicesMax + slice];
  }
  const std::set<BlockUse>& cleared() const { return cleared_; }
  void Fail(std::string what);
  uint64_t NewIdentity() { return next_identity_++; }

 private:
  void Step();
  void AddClients();
  void Operate();
  // Validated pins stand on blocks that are ready or quarantined, under the
  // generation they were validated for; a client writes only into blocks that
  // are publishing or quarantined under the generation it was given; leased
  // blocks stay; and NamespaceCore::CheckInvariants.
  void Check();
  void Rest();

  std::mt19937_64 random_;
  uint64_t now_ms_ = 1000;
  protocol::Geometry geometry_;
  FakeFile index_;
  FakeFile state_;
  std::unique_ptr<core::NamespaceCore> core_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<uint64_t> pages_;
  std::set<BlockUse> cleared_;
  std::map<uint64_t, std::vector<BlockUse>> leases_;
  uint32_t segments_added_ = 0;
  uint16_t next_session_ = 0;
  uint64_t next_identity_ = 1;
  // Publications that more than one rank should join.
  std::deque<uint64_t> shared_identities_;
  absl::Status failure_;
  Totals totals_;
  uint64_t steps_done_ = 0;
  friend class Publisher;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_WORLD_H_
