// NamespaceCore::CheckInvariants: what must hold between any two calls.

#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "daemon/core/namespace_core.h"

namespace kvferry::core {
namespace {

using protocol::BlockState;
using protocol::kNoBlock;
using protocol::ResidenceState;

template <typename... Parts>
absl::Status Violated(const Parts&... parts) {
  return absl::InternalError(absl::StrCat(parts...));
}

}  // namespace

absl::Status NamespaceCore::CheckInvariants() const {
  absl::flat_hash_set<uint32_t> standby_blocks;
  absl::Status status = CheckStandbys(&standby_blocks);
  if (status.ok()) status = CheckBlocks(standby_blocks);
  if (status.ok()) status = CheckTrees();
  if (status.ok()) status = CheckPools();
  if (status.ok()) status = CheckAreas();
  if (status.ok()) status = CheckPublications(standby_blocks);
  return status;
}

absl::Status NamespaceCore::CheckStandbys(
    absl::flat_hash_set<uint32_t>* blocks) const {
  // Standbys are being written without a place in the index, each known by its
  // key.
  for (const auto& [key, places] : standbys_) {
    for (const StandbyPlace& place : places) {
      const auto publication = publications_.find(place.identity);
      if (publication == publications_.end() ||
          place.position >= publication->second->entries.size()) {
        return Violated("a standby's publication or position is gone");
      }
      const PublicationEntry& entry =
          publication->second->entries[place.position];
      if (entry.state != EntryState::kStandby || entry.key != key ||
          !blocks->insert(entry.block).second) {
        return Violated("block ", entry.block, " is no standby of its key");
      }
      if (blocks_.in_gpu(entry.block))
        blocks->insert(blocks_.twin(entry.block));
      const uint32_t slot = index_.Find(key);
      if (slot == kNoSlot || !PendingAt(slot)) {
        return Violated("block ", entry.block,
                        " stands by for a key that nobody writes");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::CheckBlocks(
    const absl::flat_hash_set<uint32_t>& standby_blocks) const {
  uint32_t keys = 0;
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    const BlockState state = blocks_.state(block);
    const BlockMeta& meta = blocks_.meta(block);
    const uint32_t twin = blocks_.twin(block);
    const bool standby = standby_blocks.contains(block);
    // The table at NamespaceCore: what its twin is, if it has or needs one.
    bool fits = true;
    bool indexed = state == BlockState::kReady ||
                   (state == BlockState::kPublishing && !standby);
    if (twin != kNoBlock) {
      const BlockState other = blocks_.state(twin);
      const BlockState host = blocks_.in_gpu(block) ? other : state;
      const BlockState gpu = blocks_.in_gpu(block) ? state : other;
      fits = blocks_.twin(twin) == block &&
             blocks_.in_gpu(block) != blocks_.in_gpu(twin) &&
             blocks_.group_of(block) == blocks_.group_of(twin) &&
             ((gpu == BlockState::kPublishing && host == gpu) ||
              (gpu == BlockState::kReady &&
               (host == BlockState::kInIo || host == BlockState::kReady)) ||
              (gpu == BlockState::kInIo && host == BlockState::kReady));
      indexed =
          indexed || (state == BlockState::kInIo && !blocks_.in_gpu(block));
    } else if (blocks_.in_gpu(block)) {
      fits = !indexed && state != BlockState::kInIo;  // INV-GPU-1
    } else {
      fits = state != BlockState::kInIo;
    }
    if (!fits) {
      return Violated("block ", block, " in state ", static_cast<int>(state),
                      " has the twin ", twin);
    }
    if (indexed != (meta.slot != kNoSlot)) {
      return Violated("block ", block, " in state ", static_cast<int>(state),
                      indexed ? " has no slot" : " has a slot");
    }
    if (!indexed) continue;
    if (twin != kNoBlock && blocks_.meta(twin).slot != meta.slot &&
        blocks_.state(twin) != BlockState::kInIo) {
      return Violated("block ", block, " and its twin are in two slots");
    }
    uint64_t expected = blocks_.Residence(
        block, state == BlockState::kPublishing ? ResidenceState::kPending
                                                : ResidenceState::kReady);
    // Its bytes are not there, or not yet: it is not to be seen.
    const bool hidden =
        !blocks_.in_gpu(block) &&
        (state == BlockState::kInIo ||
         (state == BlockState::kPublishing && twin != kNoBlock));
    if (hidden) expected = 0;
    const uint64_t word =
        blocks_.in_gpu(block) ? index_.gpu(meta.slot) : index_.host(meta.slot);
    if (word != expected) {
      return Violated("block ", block, ": its slot says 0x", absl::Hex(word),
                      ", expected 0x", absl::Hex(expected));
    }
    if (blocks_.in_gpu(block)) continue;
    ++keys;
    if (index_.gpu(meta.slot) != 0 &&
        (twin == kNoBlock || blocks_.meta(twin).slot == kNoSlot)) {
      return Violated("block ", block, ": its slot has a GPU residence 0x",
                      absl::Hex(index_.gpu(meta.slot)), " of nobody's");
    }
    if (index_.Find(index_.key(meta.slot)) != meta.slot) {
      return Violated("block ", block, ": its key is in two slots or none");
    }
  }
  if (keys != index_.used()) {
    return Violated("index holds ", index_.used(), " keys for ", keys,
                    " visible blocks");
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::CheckTrees() const {
  std::vector<uint32_t> children(blocks_.capacity(), 0);
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    const BlockMeta& meta = blocks_.meta(block);
    if (meta.slot == kNoSlot) continue;
    if (meta.parent != kNoBlock &&
        OwnsLive(meta.parent, meta.parent_generation)) {
      ++children[meta.parent];
      if (blocks_.area_of(meta.parent) != blocks_.area_of(block) &&
          (blocks_.in_gpu(block) || blocks_.in_gpu(meta.parent))) {
        return Violated("block ", block, " continues one of another pool");
      }
    }
    const bool droppable =
        blocks_.state(block) == BlockState::kReady && meta.children == 0 &&
        !meta.copying &&
        (!blocks_.in_gpu(block) ||
         blocks_.state(blocks_.twin(block)) == BlockState::kReady);
    if (droppable && !meta.queued) {
      return Violated("block ", block, " is a tail nobody can evict");
    }
  }
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    if (blocks_.meta(block).slot != kNoSlot &&
        blocks_.meta(block).children != children[block]) {
      return Violated("block ", block, " counts ", blocks_.meta(block).children,
                      " children, has ", children[block]);
    }
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::CheckPools() const {
  for (const GpuPool& pool : pools_) {
    const uint32_t incarnation =
        header_->gpu_pools[pool.number - 1].incarnation.load(
            std::memory_order_relaxed);
    const GroupCounts& counts = blocks_.counts(pool.area);
    if ((incarnation % 2 != 0) != pool.up) {
      return Violated("GPU pool ", pool.number, ": incarnation ", incarnation);
    }
    if (!pool.up && (counts.free != 0 || counts.ready != 0 ||
                     counts.publishing != 0 || counts.in_io != 0)) {
      return Violated("GPU pool ", pool.number, " has no memory and blocks");
    }
  }
  // Every copy is known by its two blocks, which wait for it.
  uint32_t copying = 0;
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    copying += blocks_.meta(block).copying ? 1 : 0;
  }
  absl::flat_hash_set<uint32_t> ordered;
  for (const auto& [id, entry] : copies_.entries()) {
    for (const uint32_t block :
         {entry.order.gpu_block, entry.order.host_block}) {
      if (!blocks_.meta(block).copying || !ordered.insert(block).second) {
        return Violated("block ", block, " is copied twice or not at all");
      }
    }
  }
  if (copying != ordered.size()) {
    return Violated(copying, " blocks wait for copies of ", ordered.size());
  }
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    if (blocks_.state(block) == BlockState::kInIo && !ordered.contains(block)) {
      return Violated("block ", block, " waits for no copy");
    }
  }
  for (const auto& [block, until_ms] : resting_.blocks()) {
    if (blocks_.state(block) != BlockState::kQuarantined) {
      return Violated("block ", block, " rests in state ",
                      static_cast<int>(blocks_.state(block)));
    }
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::CheckAreas() const {
  // INV-BLOCK-1, and the free lists hold what the states say.
  std::vector<GroupCounts> seen(areas_.size());
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    const uint32_t a = blocks_.area_of(block);
    const BlockState state = blocks_.state(block);
    seen[a].absent += state == BlockState::kAbsent;
    seen[a].free += state == BlockState::kFree;
    seen[a].granted += state == BlockState::kGranted;
    seen[a].publishing += state == BlockState::kPublishing;
    seen[a].ready += state == BlockState::kReady;
    seen[a].in_io += state == BlockState::kInIo;
    seen[a].quarantined += state == BlockState::kQuarantined;
  }
  for (uint32_t a = 0; a < areas_.size(); ++a) {
    const GroupCounts& counts = blocks_.counts(a);
    if (counts.absent != seen[a].absent || counts.free != seen[a].free ||
        counts.granted != seen[a].granted ||
        counts.publishing != seen[a].publishing ||
        counts.ready != seen[a].ready || counts.in_io != seen[a].in_io ||
        counts.quarantined != seen[a].quarantined ||
        counts.free != blocks_.free_count(a)) {
      return Violated("area ", a, ": counts and states differ");
    }
  }
  // Grants: every granted block is some session's, within its target.
  std::vector<uint32_t> granted(areas_.size(), 0);
  for (const auto& [id, session] : sessions_) {
    for (uint32_t a = 0; a < session.grants.size(); ++a) {
      const Grants& grants = session.grants[a];
      granted[a] += static_cast<uint32_t>(grants.blocks.size());
      if (grants.blocks.size() - grants.stale.size() > areas_[a].grant_target) {
        return Violated("session ", id, " holds ", grants.blocks.size(),
                        " grants, the quota is ", areas_[a].grant_target);
      }
      for (uint32_t block : grants.stale) {
        if (!grants.blocks.contains(block)) {
          return Violated("stale block ", block, " is not granted to session ",
                          id);
        }
      }
      for (uint32_t block : grants.blocks) {
        if (blocks_.state(block) != BlockState::kGranted ||
            blocks_.owner(block) != id) {
          return Violated("block ", block, " is granted to session ", id,
                          " but is not its");
        }
      }
    }
  }
  for (uint32_t a = 0; a < areas_.size(); ++a) {
    if (granted[a] != blocks_.counts(a).granted) {
      return Violated("area ", a, ": ", blocks_.counts(a).granted,
                      " blocks granted, sessions hold ", granted[a]);
    }
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::CheckPublications(
    const absl::flat_hash_set<uint32_t>& standby_blocks) const {
  // INV-PUB-1..3, and every publishing or aborted block has an entry.
  uint32_t publishing = 0;
  uint32_t aborted = 0;
  for (const auto& [identity, publication] : publications_) {
    uint32_t writing = 0;
    if (publication->ref.followable() &&
        (!directory_.Has(publication->ref) ||
         directory_.IsOpen(publication->ref) == publication->stalled)) {
      return Violated("readers are told otherwise of a publication");
    }
    uint32_t position = 0;
    for (const PublicationEntry& entry : publication->entries) {
      const uint64_t aux = AuxOf(*publication, entry, position++);
      const uint64_t all = groups_[entry.group].all_slices;
      if ((entry.committed & entry.released) != 0 ||
          ((entry.committed | entry.released) & ~entry.begun) != 0 ||
          (entry.begun & ~all) != 0) {
        return Violated("an entry's slices: begun 0x", absl::Hex(entry.begun),
                        " committed 0x", absl::Hex(entry.committed),
                        " released 0x", absl::Hex(entry.released));
      }
      if (entry.state == EntryState::kWriting) {
        ++writing;
        publishing += blocks_.in_gpu(entry.block) ? 2 : 1;
        if (entry.committed == all ||
            blocks_.state(entry.block) != BlockState::kPublishing) {
          return Violated("block ", entry.block, " is being written but is ",
                          static_cast<int>(blocks_.state(entry.block)));
        }
        if (index_.aux(blocks_.meta(entry.block).slot) != aux) {
          return Violated("block ", entry.block,
                          ": its slot names another publication or position");
        }
      } else if (entry.state == EntryState::kStandby) {
        ++writing;
        publishing += blocks_.in_gpu(entry.block) ? 2 : 1;
        if (blocks_.state(entry.block) != BlockState::kPublishing ||
            !standby_blocks.contains(entry.block)) {
          return Violated("standby block ", entry.block, " is ",
                          static_cast<int>(blocks_.state(entry.block)));
        }
      } else if (entry.state == EntryState::kReady) {
        if (entry.committed != all) {
          return Violated("block ", entry.block,
                          " was made visible without slices 0x",
                          absl::Hex(all & ~entry.committed));
        }
      } else if ((entry.state == EntryState::kAborted ||
                  entry.state == EntryState::kSuperseded) &&
                 entry.block != kNoBlock) {
        ++aborted;
        if (blocks_.state(entry.block) != BlockState::kQuarantined) {
          return Violated("aborted block ", entry.block, " is ",
                          static_cast<int>(blocks_.state(entry.block)));
        }
      }
    }
    if (writing != publication->writing) {
      return Violated("a publication counts ", publication->writing,
                      " entries being written, has ", writing);
    }
  }
  uint32_t all_publishing = 0;
  uint32_t all_quarantined = 0;
  for (uint32_t a = 0; a < areas_.size(); ++a) {
    all_publishing += blocks_.counts(a).publishing;
    all_quarantined += blocks_.counts(a).quarantined;
  }
  if (publishing != all_publishing) {
    return Violated(all_publishing,
                    " blocks are publishing, publications "
                    "write ",
                    publishing);
  }
  if (aborted + held_quarantined_.size() != all_quarantined) {
    return Violated(all_quarantined, " blocks are quarantined, known are ",
                    aborted, " aborted and ", held_quarantined_.size(),
                    " held");
  }
  return absl::OkStatus();
}

}  // namespace kvferry::core
