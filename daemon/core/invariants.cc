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
  // Standbys are being written without a place in the index, each known by its
  // key.
  absl::flat_hash_set<uint32_t> standby_blocks;
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
          !standby_blocks.insert(entry.block).second) {
        return Violated("block ", entry.block, " is no standby of its key");
      }
      const uint32_t slot = index_.Find(key);
      if (slot == kNoSlot ||
          protocol::UnpackResidence(index_.host(slot)).state !=
              ResidenceState::kPending) {
        return Violated("block ", entry.block,
                        " stands by for a key that nobody writes");
      }
    }
  }
  // INV-BLOCK-1, and the free lists hold what the states say.
  std::vector<GroupCounts> seen(groups_.size());
  std::vector<uint32_t> children(blocks_.capacity(), 0);
  uint32_t visible = 0;
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    const uint32_t g = blocks_.group_of(block);
    const BlockState state = blocks_.state(block);
    const BlockMeta& meta = blocks_.meta(block);
    seen[g].absent += state == BlockState::kAbsent;
    seen[g].free += state == BlockState::kFree;
    seen[g].granted += state == BlockState::kGranted;
    seen[g].publishing += state == BlockState::kPublishing;
    seen[g].ready += state == BlockState::kReady;
    seen[g].in_io += state == BlockState::kInIo;
    seen[g].quarantined += state == BlockState::kQuarantined;

    const bool indexed =
        (state == BlockState::kPublishing && !standby_blocks.contains(block)) ||
        state == BlockState::kReady;
    if (indexed != (meta.slot != kNoSlot)) {
      return Violated("block ", block, " in state ", static_cast<int>(state),
                      indexed ? " has no slot" : " has a slot");
    }
    if (!indexed) continue;
    ++visible;
    const uint64_t expected = blocks_.Residence(
        block, state == BlockState::kReady ? ResidenceState::kReady
                                           : ResidenceState::kPending);
    if (index_.host(meta.slot) != expected) {
      return Violated("block ", block, ": its slot says 0x",
                      absl::Hex(index_.host(meta.slot)), ", expected 0x",
                      absl::Hex(expected));
    }
    if (index_.Find(index_.key(meta.slot)) != meta.slot) {
      return Violated("block ", block, ": its key is in two slots or none");
    }
    if (meta.parent != kNoBlock &&
        OwnsLive(meta.parent, meta.parent_generation)) {
      ++children[meta.parent];
    }
    if (state == BlockState::kReady && meta.children == 0 && !meta.queued) {
      return Violated("block ", block, " is a tail nobody can evict");
    }
  }
  if (visible != index_.used()) {
    return Violated("index holds ", index_.used(), " keys for ", visible,
                    " visible blocks");
  }
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    if (blocks_.meta(block).slot != kNoSlot &&
        blocks_.meta(block).children != children[block]) {
      return Violated("block ", block, " counts ", blocks_.meta(block).children,
                      " children, has ", children[block]);
    }
  }
  for (uint32_t g = 0; g < groups_.size(); ++g) {
    const GroupCounts& counts = blocks_.counts(g);
    if (counts.absent != seen[g].absent || counts.free != seen[g].free ||
        counts.granted != seen[g].granted ||
        counts.publishing != seen[g].publishing ||
        counts.ready != seen[g].ready ||
        counts.quarantined != seen[g].quarantined ||
        counts.free != blocks_.free_count(g)) {
      return Violated("group ", g, ": counts and states differ");
    }
  }
  // Grants: every granted block is some session's, within its target.
  std::vector<uint32_t> granted(groups_.size(), 0);
  for (const auto& [id, session] : sessions_) {
    for (uint32_t g = 0; g < session.grants.size(); ++g) {
      granted[g] += static_cast<uint32_t>(session.grants[g].blocks.size());
      if (session.grants[g].blocks.size() > groups_[g].grant_target) {
        return Violated("session ", id, " holds ",
                        session.grants[g].blocks.size(),
                        " grants, the quota is ", groups_[g].grant_target);
      }
      for (uint32_t block : session.grants[g].blocks) {
        if (blocks_.state(block) != BlockState::kGranted ||
            blocks_.owner(block) != id) {
          return Violated("block ", block, " is granted to session ", id,
                          " but is not its");
        }
      }
    }
  }
  for (uint32_t g = 0; g < groups_.size(); ++g) {
    if (granted[g] != blocks_.counts(g).granted) {
      return Violated("group ", g, ": ", blocks_.counts(g).granted,
                      " blocks granted, sessions hold ", granted[g]);
    }
  }
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
        ++publishing;
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
        ++publishing;
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
  for (uint32_t g = 0; g < groups_.size(); ++g) {
    all_publishing += blocks_.counts(g).publishing;
    all_quarantined += blocks_.counts(g).quarantined;
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
