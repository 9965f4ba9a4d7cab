// What a writer's progress words mean to the daemon: when it died, when it
// stands still.

#include <algorithm>

#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"

namespace kvferry::core {

void NamespaceCore::AdoptProgress(Session& session, Handle& handle,
                                  uint64_t now_ms) {
  if (handle.record == kNoRecord || handle.owned_count == 0) return;
  Publication& publication = *handle.publication;
  uint32_t positions = std::min(
      session.progress.Positions(handle.record, publication.ref.generation),
      handle.begun);
  if (IsMutant(Mutant::kDeathAdoptsAll)) positions = handle.begun;
  for (uint32_t p = 0; p < positions; ++p) {
    if (!handle.owned[p]) continue;
    PublicationEntry& entry = publication.entries[p];
    if (entry.state != EntryState::kWriting &&
        entry.state != EntryState::kStandby) {
      continue;
    }
    // A reader that saw the word takes the block for whole (INV-STREAM-1), so
    // it is: as good as a commit that has not arrived. The position stays the
    // writer's to end.
    CommitSlices(publication, entry, SlicesOf(groups_[entry.group], handle),
                 now_ms);
  }
  Tell(publication);
}

uint32_t NamespaceCore::EndStalled(Session& session, Handle& handle,
                                   uint64_t now_ms) {
  AdoptProgress(session, handle, now_ms);
  Publication& publication = *handle.publication;
  uint32_t blocks = 0;
  for (uint32_t p = 0; p < handle.begun; ++p) {
    if (!handle.owned[p]) continue;
    PublicationEntry& entry = publication.entries[p];
    const uint64_t slices = SlicesOf(groups_[entry.group], handle);
    if ((entry.committed & slices) == slices) continue;
    if (entry.state != EntryState::kWriting &&
        entry.state != EntryState::kStandby) {
      continue;
    }
    // Its slices stay begun: it may go on writing whenever it wakes.
    GiveUp(publication, entry, now_ms);
    ++blocks;
    if (IsMutant(Mutant::kStallFreesBlock)) {
      entry.released |= slices;
      SettleAborted(entry);
    }
  }
  if (blocks > 0) ++counters_.stalled_publications;
  return blocks;
}

void NamespaceCore::ExpireStalled(uint64_t now_ms) {
  for (auto& [id, session] : sessions_) {
    if (session.revoked) continue;
    StallReport report{.session = id};
    for (auto& [number, handle] : session.handles) {
      const uint32_t blocks = CheckStalled(session, handle, now_ms);
      report.publications += blocks > 0 ? 1 : 0;
      report.blocks += blocks;
    }
    if (report.blocks > 0) stalls_.push_back(report);
  }
}

uint32_t NamespaceCore::CheckStalled(Session& session, Handle& handle,
                                     uint64_t now_ms) {
  const uint64_t word =
      handle.record == kNoRecord ? 0 : session.progress.Word(handle.record);
  if (word != handle.progress_word) {
    handle.progress_word = word;
    Moved(handle, now_ms);
    return 0;
  }
  Publication& publication = *handle.publication;
  uint32_t blocks = 0;
  if (handle.owned_count > 0 && now_ms - handle.moved_ms >= handle.stall_ms) {
    blocks = EndStalled(session, handle, now_ms);
    handle.moved_ms = now_ms;
  }
  // Also a writer that has nothing begun: who waits for what it might begin
  // next is told not to.
  if (blocks > 0 || now_ms - publication.moved_ms >= handle.stall_ms) {
    SetStalled(publication, true);
  }
  return blocks;
}

void NamespaceCore::Moved(Handle& handle, uint64_t now_ms) {
  handle.moved_ms = now_ms;
  handle.publication->moved_ms = now_ms;
  SetStalled(*handle.publication, false);
}

void NamespaceCore::SetStalled(Publication& publication, bool stalled) {
  if (publication.stalled == stalled || !publication.ref.followable()) return;
  publication.stalled = stalled;
  directory_.SetStalled(publication.ref.slot, stalled);
}

void NamespaceCore::KeepHandOver(const Session& session, const Handle& handle) {
  const uint32_t generation = handle.publication->ref.generation;
  if (!leases_.Follows(generation)) return;
  const std::string bytes =
      session.progress.HandOver(handle.record, generation);
  if (!bytes.empty()) leases_.SetHandOver(generation, bytes);
}

}  // namespace kvferry::core
