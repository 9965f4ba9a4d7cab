// What operators and tickets ask of a namespace.

#include <atomic>
#include <cstddef>
#include <cstring>
#include <utility>

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

// Whether the key's hex digits (ToHex of kvferry/key.h) begin with `prefix`.
// No string is made: a namespace may have millions of blocks to look at.
bool HasPrefix(const BlockKey& key, absl::string_view prefix) {
  constexpr char kDigits[] = "0123456789abcdef";
  if (prefix.size() > 32) return false;
  for (size_t i = 0; i < prefix.size(); ++i) {
    const uint64_t half = i < 16 ? key.lo : key.hi;
    const size_t byte = i % 16 / 2;
    const uint64_t value = half >> (8 * byte) & 0xff;
    if (kDigits[i % 2 == 0 ? value >> 4 : value & 15] != prefix[i]) {
      return false;
    }
  }
  return true;
}

std::string KeyHex(const BlockKey& key) {
  std::byte bytes[16];
  std::memcpy(bytes, &key.lo, 8);
  std::memcpy(bytes + 8, &key.hi, 8);
  return HexEncode(bytes);
}

}  // namespace

uint32_t NamespaceCore::Clear() {
  header_->content_epoch.fetch_add(1, std::memory_order_relaxed);
  leases_.Clear();
  uint32_t left = 0;
  for (auto& [identity, publication] : publications_) {
    for (PublicationEntry& entry : publication->entries) {
      if (entry.state != EntryState::kWriting ||
          IsMutant(Mutant::kClearForgetsInFlight)) {
        continue;
      }
      AbortEntry(*publication, entry);
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
      // Held blocks go back as the warmest: each is met once.
      std::vector<uint32_t> held;
      while (counts.evicted < limit) {
        uint32_t budget = ~uint32_t{0};
        const uint32_t block = groups_[g].evictable.Pop(&budget);
        if (block == kNoBlock) break;
        if (retirer_.Held(block)) {
          held.push_back(block);
        } else {
          add(EvictBlocks({&block, 1}, now_ms));
        }
      }
      counts.pinned += static_cast<uint32_t>(held.size());
      for (uint32_t block : held) groups_[g].evictable.Offer(block);
    }
    return counts;
  }
  std::vector<uint32_t> matching;
  for (uint32_t block = 0;
       block < blocks_.capacity() && matching.size() < limit; ++block) {
    if (blocks_.state(block) != BlockState::kReady ||
        !HasPrefix(index_.key(blocks_.meta(block).slot), prefix_hex)) {
      continue;
    }
    if (retirer_.Held(block)) {
      ++counts.pinned;
    } else {
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
    if (!HasPrefix(key, prefix_hex)) continue;
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
  const uint64_t capacity = config_.geometry.block_capacity;
  if (leases_.key_count() + keys.size() > capacity ||
      leases_.held_blocks() + keys.size() > (capacity + 1) / 2) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "ticket: ", keys.size(), " blocks more; the namespace's tickets hold ",
        leases_.held_blocks(), ", the limit is ", (capacity + 1) / 2));
  }
  absl::flat_hash_set<uint32_t> seen;
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
    if (!seen.insert(block).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ticket: block ", i, " (", KeyHex(keys[i]), ") is named twice"));
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
