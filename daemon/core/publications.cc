// The life of publications' entries: commit, abort, close, linger.

#include <algorithm>
#include <atomic>

#include "base/check.h"
#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::kNoBlock;
using protocol::ResidenceState;

void NamespaceCore::Tell(const Publication& publication) {
  if (publication.ref.followable()) directory_.Changed(publication.ref.slot);
}

void NamespaceCore::FinishInFlight(const PublicationEntry& entry) {
  const auto session = sessions_.find(blocks_.owner(entry.block));
  if (session == sessions_.end()) return;
  std::vector<Grants>& grants = session->second.grants;
  if (grants.empty()) return;
  // The number may have gone to a new session since: never below zero.
  const auto finish = [&grants](uint32_t area) {
    if (grants[area].in_flight > 0) --grants[area].in_flight;
  };
  finish(entry.group);
  if (blocks_.in_gpu(entry.block)) finish(blocks_.area_of(entry.block));
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
  // A standby that is whole waits for what becomes of the other one.
  if (entry.state == EntryState::kWriting) {
    MakeReady(publication, entry, now_ms);
  }
}

void NamespaceCore::MakeReady(Publication& publication, PublicationEntry& entry,
                              uint64_t now_ms) {
  FinishInFlight(entry);
  const uint32_t block = entry.block;
  const uint32_t host = blocks_.host_of(block);
  blocks_.MakeReady(block);
  Touch(block, now_ms);
  const uint32_t slot = blocks_.meta(block).slot;
  const uint64_t word = blocks_.Residence(block, ResidenceState::kReady);
  // Release: the payload was written before the commit was submitted, and the
  // submission was acquired from the ring.
  if (block == host) {
    index_.SetHost(slot, word);
    Offer(block);
  } else {
    blocks_.BeginIo(host);
    index_.SetGpu(slot, word);
    OrderCopy(block, host, /*to_host=*/true);
  }
  entry.state = EntryState::kReady;
  FinishEntry(publication);
  ++counters_.published_blocks;
  leases_.Ready(entry.key, entry.group, host);
  SupersedeStandbys(entry.key);
}

void NamespaceCore::AbortEntry(Publication& publication,
                               PublicationEntry& entry, uint64_t now_ms) {
  KVFERRY_CHECK(entry.state == EntryState::kWriting);
  const BlockMeta& meta = blocks_.meta(blocks_.host_of(entry.block));
  BlockKey parent;
  if (meta.parent != kNoBlock &&
      OwnsLive(meta.parent, meta.parent_generation)) {
    parent = index_.key(blocks_.meta(meta.parent).slot);
  }
  index_.Erase(meta.slot);
  UnlinkParents(entry.block);
  QuarantineEntry(entry);
  entry.state = EntryState::kAborted;
  FinishEntry(publication);
  ++counters_.aborted_blocks;
  Tell(publication);
  PromoteStandby(entry.key, parent, now_ms);
}

void NamespaceCore::QuarantineEntry(const PublicationEntry& entry) {
  const uint32_t block = entry.block;
  blocks_.meta(block).slot = kNoSlot;
  blocks_.Quarantine(block);
  const uint32_t host = blocks_.host_of(block);
  if (host == block) return;
  // Nobody has read or written this one, nor was it to be seen anywhere.
  blocks_.meta(host).slot = kNoSlot;
  blocks_.Unpair(block);
  blocks_.Quarantine(host);
  blocks_.Free(host);
}

void NamespaceCore::SettleAborted(PublicationEntry& entry) {
  if ((entry.state != EntryState::kAborted &&
       entry.state != EntryState::kSuperseded) ||
      entry.block == kNoBlock) {
    return;
  }
  if (entry.begun != (entry.committed | entry.released) &&
      !IsMutant(Mutant::kAbortFreesWhileWritten)) {
    return;
  }
  FinishInFlight(entry);
  // Who follows a block while it is written has it pinned. It left the index
  // before; of that store and a reader's pin at least one is seen by the other
  // (INV-PIN-1).
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (IsMutant(Mutant::kAbortIgnoresPins)) {
    blocks_.Free(entry.block);
  } else {
    LetGo(entry.block);
  }
  entry.block = kNoBlock;
}

void NamespaceCore::GiveUp(Publication& publication, PublicationEntry& entry,
                           uint64_t now_ms) {
  if (entry.state == EntryState::kWriting) {
    AbortEntry(publication, entry, now_ms);
  } else if (entry.state == EntryState::kStandby) {
    AbortStandby(publication, entry);
  }
}

void NamespaceCore::ReleaseSlices(Publication& publication,
                                  PublicationEntry& entry, uint64_t slices,
                                  uint64_t now_ms) {
  entry.released |= slices;
  GiveUp(publication, entry, now_ms);
  SettleAborted(entry);
}

void NamespaceCore::CloseHandle(Session& session, Handle& handle, bool died,
                                uint64_t now_ms) {
  Publication* const publication = handle.publication;
  for (uint32_t p = 0; p < handle.begun && handle.owned_count > 0; ++p) {
    if (!handle.owned[p]) continue;
    handle.owned[p] = false;
    --handle.owned_count;
    PublicationEntry& entry = publication->entries[p];
    const uint64_t slices = SlicesOf(groups_[entry.group], handle);
    if ((entry.committed & slices) == slices) continue;  // by its progress
    if (died && session.gpu_device.has_value() && entry.block != kNoBlock) {
      Rest(entry.block, now_ms);
    }
    ReleaseSlices(*publication, entry, slices, now_ms);
  }
  session.entries -= handle.begun;
  if (handle.record != kNoRecord) {
    const auto record = static_cast<uint8_t>(handle.record);
    KeepHandOver(session, handle);
    directory_.RemoveWriter(publication->ref.slot,
                            {session.progress_file, record});
    session.free_records.push_back(record);
  }
  const auto slice_set =
      std::find(publication->slice_sets.begin(), publication->slice_sets.end(),
                handle.slice_set);
  KVFERRY_CHECK(slice_set != publication->slice_sets.end());
  publication->slice_sets.erase(slice_set);
  if (died) LoseSlices(*publication, handle.slice_set, now_ms);
  if (!publication->slice_sets.empty()) return;
  if (died) {
    // Other ranks may still come for the slices that are missing, but not to a
    // publication whose writer died.
    for (PublicationEntry& entry : publication->entries) {
      if (entry.committed == groups_[entry.group].all_slices) continue;
      GiveUp(*publication, entry, now_ms);
      SettleAborted(entry);
    }
  }
  if (publication->writing > 0) {
    Linger(publication, now_ms);
  } else {
    End(publication, now_ms);
  }
}

void NamespaceCore::LoseSlices(Publication& publication, uint64_t slices,
                               uint64_t now_ms) {
  for (const uint64_t others : publication.slice_sets) slices &= ~others;
  publication.lost_slices |= slices;
  // They do not come any more, also of what their writer had not begun: nobody
  // shall wait for the others'.
  for (PublicationEntry& entry : publication.entries) {
    const uint64_t lost = LostSlices(publication, entry.group);
    if ((entry.committed & lost) == lost) continue;
    GiveUp(publication, entry, now_ms);
    SettleAborted(entry);
  }
}

void NamespaceCore::Linger(Publication* publication, uint64_t now_ms) {
  const auto entries = static_cast<uint32_t>(publication->entries.size());
  // Nobody is charged for these, so all together get what one session may have.
  if (lingering_entries_ + entries > protocol::kEntriesPerSessionMax) {
    End(publication, now_ms);
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

void NamespaceCore::End(Publication* publication, uint64_t now_ms) {
  StopLingering(publication);
  for (PublicationEntry& entry : publication->entries) {
    GiveUp(*publication, entry, now_ms);
    SettleAborted(entry);
  }
  if (publication->ref.followable()) directory_.End(publication->ref.slot);
  publications_.erase(publication->identity);
}

void NamespaceCore::FinishEntry(Publication& publication) {
  if (--publication.writing > 0 || !publication.slice_sets.empty()) return;
  // Not at once: the caller is still at it.
  finished_.push_back(publication.identity);
}

void NamespaceCore::EndFinished(uint64_t now_ms) {
  while (!finished_.empty()) {
    const PublicationIdentity identity = finished_.back();
    finished_.pop_back();
    const auto found = publications_.find(identity);
    // Somebody may have opened it again since.
    if (found == publications_.end() || !found->second->slice_sets.empty() ||
        found->second->writing > 0) {
      continue;
    }
    End(found->second.get(), now_ms);
  }
}

void NamespaceCore::ExpirePublications(uint64_t now_ms) {
  while (!lingering_.empty() && lingering_.begin()->first <= now_ms) {
    End(publications_.at(lingering_.begin()->second).get(), now_ms);
  }
}

}  // namespace kvferry::core
