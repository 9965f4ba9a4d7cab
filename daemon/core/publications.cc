// The life of publications' entries: commit, abort, close, linger.

#include <algorithm>

#include "base/check.h"
#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::kNoBlock;
using protocol::ResidenceState;

void NamespaceCore::FinishInFlight(const PublicationEntry& entry) {
  const auto session = sessions_.find(blocks_.owner(entry.block));
  if (session == sessions_.end()) return;
  if (session->second.grants.size() <= entry.group) return;
  // The number may have gone to a new session since: never below zero.
  uint32_t& in_flight = session->second.grants[entry.group].in_flight;
  if (in_flight > 0) --in_flight;
}

void NamespaceCore::CommitSlices(Publication& publication,
                                 PublicationEntry& entry, uint64_t slices,
                                 uint64_t now_ms) {
  entry.committed |= slices;
  const Group& group = groups_[entry.group];
  if (entry.committed != group.all_slices &&
      !IsMutant(Mutant::kReadyOnFirstSlice)) {
    return;
  }
  if (entry.state != EntryState::kWriting) return;
  FinishInFlight(entry);
  const uint32_t block = entry.block;
  blocks_.MakeReady(block);
  BlockMeta& meta = blocks_.meta(block);
  meta.last_use_ms = static_cast<uint32_t>(now_ms);
  // Release: the payload was written before the commit was submitted, and the
  // submission was acquired from the ring.
  index_.SetHost(meta.slot, blocks_.Residence(block, ResidenceState::kReady));
  groups_[entry.group].evictable.Offer(block);
  entry.state = EntryState::kReady;
  --publication.writing;
  ++counters_.published_blocks;
}

void NamespaceCore::AbortEntry(Publication& publication,
                               PublicationEntry& entry) {
  KVFERRY_CHECK(entry.state == EntryState::kWriting);
  FinishInFlight(entry);
  BlockMeta& meta = blocks_.meta(entry.block);
  index_.Erase(meta.slot);
  meta.slot = kNoSlot;
  UnlinkParent(entry.block);
  blocks_.Quarantine(entry.block);
  entry.state = EntryState::kAborted;
  --publication.writing;
  ++counters_.aborted_blocks;
}

void NamespaceCore::SettleAborted(PublicationEntry& entry) {
  if (entry.state != EntryState::kAborted || entry.block == kNoBlock) return;
  if (entry.begun != (entry.committed | entry.released) &&
      !IsMutant(Mutant::kAbortFreesWhileWritten)) {
    return;
  }
  // A pending block is pinned by nobody who was let validate, but a reader may
  // be between its pin and its validation; it does not touch the bytes.
  blocks_.Free(entry.block);
  entry.block = kNoBlock;
}

void NamespaceCore::ReleaseSlices(Publication& publication,
                                  PublicationEntry& entry, uint64_t slices) {
  entry.released |= slices;
  if (entry.state == EntryState::kWriting) {
    AbortEntry(publication, entry);
  }
  SettleAborted(entry);
}

void NamespaceCore::CloseHandle(Session& session, Handle& handle, bool died,
                                uint64_t now_ms) {
  Publication* const publication = handle.publication;
  for (uint32_t p = 0; p < handle.begun; ++p) {
    if (!handle.owned[p]) continue;
    PublicationEntry& entry = publication->entries[p];
    ReleaseSlices(*publication, entry, SlicesOf(groups_[entry.group], handle));
    handle.owned[p] = false;
  }
  session.entries -= handle.begun;
  KVFERRY_CHECK(publication->open_handles > 0);
  if (--publication->open_handles > 0) return;
  // Other ranks may still come for the slices that are missing, but not to a
  // publication whose writer died.
  if (publication->writing > 0 && !died) {
    Linger(publication, now_ms);
  } else {
    End(publication);
  }
}

void NamespaceCore::Linger(Publication* publication, uint64_t now_ms) {
  const auto entries = static_cast<uint32_t>(publication->entries.size());
  // Nobody is charged for these, so all together get what one session may have.
  if (lingering_entries_ + entries > protocol::kEntriesPerSessionMax) {
    End(publication);
    return;
  }
  publication->linger_until_ms = now_ms + protocol::kPublicationLingerMs;
  lingering_entries_ += entries;
  lingering_.emplace(publication->linger_until_ms, publication->identity);
}

void NamespaceCore::StopLingering(Publication* publication) {
  if (lingering_.erase({publication->linger_until_ms, publication->identity}) ==
      0) {
    return;
  }
  lingering_entries_ -= static_cast<uint32_t>(publication->entries.size());
}

void NamespaceCore::End(Publication* publication) {
  StopLingering(publication);
  for (PublicationEntry& entry : publication->entries) {
    if (entry.state == EntryState::kWriting) {
      AbortEntry(*publication, entry);
    }
    SettleAborted(entry);
  }
  publications_.erase(publication->identity);
}

void NamespaceCore::ExpirePublications(uint64_t now_ms) {
  while (!lingering_.empty() && lingering_.begin()->first <= now_ms) {
    End(publications_.at(lingering_.begin()->second).get());
  }
}

}  // namespace kvferry::core
