// What operators and tickets ask of a namespace.

#include <atomic>
#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/hex.h"
#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {
namespace {

using protocol::BlockState;
using protocol::kNoBlock;

std::string KeyHex(const BlockKey& key) {
  std::byte bytes[16];
  std::memcpy(bytes, &key.lo, 8);
  std::memcpy(bytes + 8, &key.hi, 8);
  return HexEncode(bytes);
}

}  // namespace

uint32_t NamespaceCore::Clear(uint64_t now_ms) {
  header_->content_epoch.fetch_add(1, std::memory_order_relaxed);
  leases_.Clear();
  uint32_t left = 0;
  for (auto& [identity, publication] : publications_) {
    for (PublicationEntry& entry : publication->entries) {
      if (entry.state != EntryState::kWriting ||
          IsMutant(Mutant::kClearForgetsInFlight)) {
        continue;
      }
      AbortEntry(*publication, entry, now_ms);
      SettleAborted(entry);
      ++left;
    }
  }
  // Out of the index first, then one fence, then the pins: a reader that
  // validated before is seen, one that has not finds the slot empty.
  std::vector<uint32_t> cleared;
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    if (blocks_.state(block) != BlockState::kReady) continue;
    BlockMeta& meta = blocks_.meta(block);
    index_.Erase(meta.slot);
    meta.slot = kNoSlot;
    meta.parent = kNoBlock;
    meta.children = 0;
    cleared.push_back(block);
  }
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (uint32_t block : cleared) {
    if (retirer_.Held(block)) {
      blocks_.Quarantine(block);
      held_quarantined_.push_back(block);
    } else {
      blocks_.Free(block);
    }
  }
  return left + static_cast<uint32_t>(cleared.size());
}

EvictCounts NamespaceCore::Evict(absl::string_view prefix_hex, uint32_t limit,
                                 uint64_t now_ms) {
  EvictCounts counts;
  auto add = [&counts](EvictCounts more) {
    counts.evicted += more.evicted;
    counts.pinned += more.pinned;
  };
  if (prefix_hex.empty()) {
    SweepTouches(now_ms);
    for (uint32_t g = 0; g < groups_.size(); ++g) {
      uint32_t budget = blocks_.counts(g).ready;
      while (counts.evicted < limit && budget > 0) {
        const uint32_t block = groups_[g].evictable.Pop();
        if (block == kNoBlock) break;
        --budget;
        add(EvictBlocks({&block, 1}, now_ms));
      }
    }
    return counts;
  }
  std::vector<uint32_t> matching;
  for (uint32_t block = 0;
       block < blocks_.capacity() && matching.size() < limit; ++block) {
    if (blocks_.state(block) != BlockState::kReady) continue;
    if (absl::StartsWith(KeyHex(index_.key(blocks_.meta(block).slot)),
                         prefix_hex)) {
      matching.push_back(block);
    }
  }
  add(EvictBlocks(matching, now_ms));
  return counts;
}

std::vector<BlockDescription> NamespaceCore::Describe(
    absl::string_view prefix_hex, uint32_t limit, bool* more) const {
  std::vector<BlockDescription> found;
  *more = false;
  for (uint32_t block = 0; block < blocks_.capacity(); ++block) {
    const BlockMeta& meta = blocks_.meta(block);
    if (meta.slot == kNoSlot) continue;
    const BlockKey key = index_.key(meta.slot);
    if (!absl::StartsWith(KeyHex(key), prefix_hex)) continue;
    if (found.size() == limit) {
      *more = true;
      break;
    }
    BlockDescription description;
    description.key = key;
    description.group = blocks_.group_of(block);
    description.block = block;
    description.generation = blocks_.generation(block);
    description.state = protocol::UnpackResidence(index_.host(meta.slot)).state;
    if (meta.parent != kNoBlock &&
        OwnsLive(meta.parent, meta.parent_generation)) {
      description.parent = index_.key(blocks_.meta(meta.parent).slot);
    }
    description.children = meta.children;
    description.pins = retirer_.PinCount(block);
    description.last_use_ms = meta.last_use_ms;
    found.push_back(description);
  }
  return found;
}

absl::StatusOr<uint64_t> NamespaceCore::HoldLease(
    uint32_t group, std::span<const BlockKey> keys, uint32_t consumers,
    uint64_t deadline_ms) {
  if (leases_.size() >= protocol::kTicketsPerNamespaceMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the namespace has ", leases_.size(), " tickets, the limit is ",
        protocol::kTicketsPerNamespaceMax));
  }
  if (group >= groups_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: group ", group, ", the namespace has ", groups_.size()));
  }
  Lease lease;
  lease.group = group;
  lease.consumers_left = consumers;
  lease.deadline_ms = deadline_ms;
  for (size_t i = 0; i < keys.size(); ++i) {
    const uint32_t slot = index_.Find(keys[i]);
    const uint32_t block =
        slot == kNoSlot ? kNoBlock
                        : protocol::UnpackResidence(index_.host(slot)).block;
    if (block == kNoBlock || blocks_.state(block) != BlockState::kReady ||
        blocks_.group_of(block) != group) {
      return absl::NotFoundError(absl::StrCat(
          "ticket: block ", i, " (", KeyHex(keys[i]), ") is not there"));
    }
    lease.blocks.push_back(block);
  }
  lease.keys.assign(keys.begin(), keys.end());
  return leases_.Add(std::move(lease));
}

const Lease* NamespaceCore::FindLease(uint64_t lease) const {
  return leases_.Find(lease);
}

absl::Status NamespaceCore::ReleaseLease(uint64_t lease) {
  if (leases_.Release(lease)) return absl::OkStatus();
  return absl::NotFoundError("ticket: expired or used up");
}

}  // namespace kvferry::core
