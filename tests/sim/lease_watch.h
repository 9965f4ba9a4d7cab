#ifndef KVFERRY_TESTS_SIM_LEASE_WATCH_H_
#define KVFERRY_TESTS_SIM_LEASE_WATCH_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kvferry/key.h"
#include "protocol/shm_layout.h"

namespace kvferry::sim {

class Client;
class World;

// Mints tickets at random, ready ones and such on a publication under way, and
// checks what they promise: a key of theirs that is ready stays so, and once
// the handle they were minted for has ended they have its hand-over data.
class LeaseWatch {
 public:
  explicit LeaseWatch(World* world) : world_(*world) {}

  // A ticket for blocks that are there.
  void HoldReady();
  // A ticket for a publication that `client` has open.
  void HoldInFlight(const Client& client);
  // Names one more key of some ticket that was minted in flight.
  void ExtendSome();
  void ReleaseSome();
  void Check();

  // What a publisher has set; and when a handle of it ended.
  void HandOverSet(uint16_t session, uint32_t handle, uint32_t generation,
                   const std::string& bytes);
  void HandleEnded(uint16_t session, uint32_t handle);
  void SessionEnded(uint16_t session);

  // The keys of some ticket whose publication is under way.
  bool Hint(uint32_t* group, std::vector<BlockKey>* keys,
            protocol::PublicationRef* publication) const;

 private:
  using Minter = std::pair<uint16_t, uint32_t>;  // session, handle
  struct Held {
    uint32_t group = 0;
    std::vector<BlockKey> keys;   // so far
    std::vector<BlockKey> chain;  // that they are the beginning of
    // Block and generation of each key that was seen ready.
    std::map<BlockKey, std::pair<uint32_t, uint32_t>> ready;
    Minter minter;
    uint32_t generation = 0;  // of its publication; 0: none
  };
  void CheckKeys(uint64_t id, Held& held);
  void CheckHandOver(uint64_t id, const Held& held);

  World& world_;
  std::map<uint64_t, Held> leases_;
  // By generation, as any rank may set some; and by who did.
  std::map<uint32_t, std::set<std::string>> set_;
  std::set<Minter> setters_;
  std::set<Minter> ended_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_LEASE_WATCH_H_
