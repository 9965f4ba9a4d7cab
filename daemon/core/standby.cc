// Standby: keys that are written twice, in case that the first writer fails.

#include <utility>

#include "base/check.h"
#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

bool NamespaceCore::MayStandBy(const Publication& publication,
                               const NewKey& key, uint32_t slot) const {
  if (!key.standby) return false;
  const auto writer = protocol::UnpackPublicationRef(index_.aux(slot));
  // A key that its own publication is writing needs no second copy.
  if (writer.followable() && writer.generation == publication.ref.generation) {
    return false;
  }
  const auto places = standbys_.find(key.key);
  return places == standbys_.end() ||
         places->second.size() < protocol::kStandbysPerKeyMax;
}

void NamespaceCore::AddStandby(const Publication& publication,
                               const BlockKey& key, uint32_t position) {
  standbys_[key].push_back({publication.identity, position});
  ++counters_.standby_blocks;
}

void NamespaceCore::RemoveStandby(const Publication& publication,
                                  const PublicationEntry& entry) {
  const auto position =
      static_cast<uint32_t>(&entry - publication.entries.data());
  const auto places = standbys_.find(entry.key);
  KVFERRY_CHECK(places != standbys_.end());
  std::erase_if(places->second, [&](const StandbyPlace& place) {
    return place.identity == publication.identity && place.position == position;
  });
  if (places->second.empty()) standbys_.erase(places);
}

void NamespaceCore::PromoteStandby(const BlockKey& key, const BlockKey& parent,
                                   uint64_t now_ms) {
  for (;;) {
    const auto places = standbys_.find(key);
    if (places == standbys_.end()) return;
    const StandbyPlace place = places->second.front();
    Publication& publication = *publications_.at(place.identity);
    PublicationEntry& entry = publication.entries[place.position];
    KVFERRY_CHECK(entry.state == EntryState::kStandby);
    // As at a begin: the parent first, then the place.
    LinkParents(entry.block, parent);
    const uint32_t slot = InsertPending(
        key, entry.block, AuxOf(publication, entry, place.position), now_ms);
    if (slot == kNoSlot) {
      UnlinkParents(entry.block);
      AbortStandby(publication, entry);
      SettleAborted(entry);
      continue;
    }
    RemoveStandby(publication, entry);
    SetSlot(entry.block, slot, now_ms);
    entry.state = EntryState::kWriting;
    ++counters_.adopted_blocks;
    Tell(publication);
    if (entry.committed == groups_[entry.group].all_slices ||
        IsMutant(Mutant::kStandbyReadyTooSoon)) {
      MakeReady(publication, entry, now_ms);
    }
    return;
  }
}

void NamespaceCore::SupersedeStandbys(const BlockKey& key) {
  const auto places = standbys_.find(key);
  if (places == standbys_.end()) return;
  const std::deque<StandbyPlace> gone = std::move(places->second);
  standbys_.erase(places);
  for (const StandbyPlace& place : gone) {
    Publication& publication = *publications_.at(place.identity);
    PublicationEntry& entry = publication.entries[place.position];
    KVFERRY_CHECK(entry.state == EntryState::kStandby);
    QuarantineEntry(entry);
    entry.state = EntryState::kSuperseded;
    FinishEntry(publication);
    Tell(publication);
    SettleAborted(entry);
  }
}

void NamespaceCore::AbortStandby(Publication& publication,
                                 PublicationEntry& entry) {
  RemoveStandby(publication, entry);
  QuarantineEntry(entry);
  entry.state = EntryState::kAborted;
  FinishEntry(publication);
  ++counters_.aborted_blocks;
  Tell(publication);
}

}  // namespace kvferry::core
