// The life of a begin: who gets which block, and what everybody is told.

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "daemon/core/answers.h"
#include "daemon/core/mutant.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::BlockState;
using protocol::kBlocksPerRunMax;
using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::SubmitRecord;
using protocol::SubmitType;

absl::Status NamespaceCore::CheckOffers(uint16_t id, Session& session,
                                        uint32_t area,
                                        std::span<const SubmitRecord> blocks) {
  absl::flat_hash_set<uint32_t>& granted = session.grants[area].blocks;
  // Taken out one by one, which finds a block offered twice as well.
  size_t taken = 0;
  absl::Status status;
  for (; taken < blocks.size() && status.ok(); ++taken) {
    const SubmitRecord& record = blocks[taken];
    const uint32_t block = record.begin_block.block;
    if (record.type != static_cast<uint8_t>(SubmitType::kBeginBlock)) {
      status = absl::InvalidArgumentError(
          absl::StrCat("begin: record ", taken, " has type ", record.type));
    } else if (record.begin_block.key_lo == 0 &&
               record.begin_block.key_hi == 0) {
      status = absl::InvalidArgumentError(
          absl::StrCat("begin: block ", taken, " has the key zero"));
    } else if (block != kNoBlock && block != protocol::kAlreadyThere &&
               granted.erase(block) == 0) {
      status = absl::InvalidArgumentError(
          absl::StrCat("begin: block ", block, " is not granted to session ",
                       id, " in group ", blocks_.area_group(area),
                       ", GPU pool ", PoolNumberOf(area)));
    }
    if (!status.ok()) break;
  }
  if (status.ok()) return status;
  for (size_t i = 0; i < taken; ++i) {
    const uint32_t block = blocks[i].begin_block.block;
    if (block != kNoBlock && block != protocol::kAlreadyThere) {
      granted.insert(block);
    }
  }
  return status;
}

absl::Status NamespaceCore::CheckPool(const char* verb, const Session& session,
                                      uint32_t group, uint32_t pool) const {
  if (pool == 0) return absl::OkStatus();
  if (pool > pools_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        verb, ": GPU pool ", pool, ", the namespace has ", pools_.size()));
  }
  const GpuPool& named = pools_[pool - 1];
  if (named.group != group) {
    return absl::InvalidArgumentError(absl::StrCat(verb, ": GPU pool ", pool,
                                                   " is of group ", named.group,
                                                   ", not of group ", group));
  }
  // What a dead process's device may still be writing is known by the device
  // that its session has opened.
  if (session.gpu_device != named.device) {
    return absl::InvalidArgumentError(
        absl::StrCat(verb, ": GPU pool ", pool, " is on device ", named.device,
                     ", which the session has not opened"));
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::Begin(uint16_t id, Session& session,
                                  std::span<const SubmitRecord> run,
                                  uint64_t now_ms) {
  const SubmitRecord& head = run[0];
  const auto found = session.handles.find(head.handle);
  if (found == session.handles.end()) {
    return absl::NotFoundError(
        absl::StrCat("begin: handle ", head.handle, " is not open"));
  }
  Handle& handle = found->second;
  const uint32_t count = head.begin.count;
  if (head.group >= groups_.size() || count == 0 || count > kBlocksPerRunMax ||
      run.size() != 1 + size_t{count}) {
    return absl::InvalidArgumentError(
        absl::StrCat("begin: group ", head.group, " of ", groups_.size(),
                     ", count ", count, ", must be 1 to ", kBlocksPerRunMax,
                     ", with as many records (", run.size() - 1, ")"));
  }
  if (head.begin.first != handle.begun ||
      handle.begun + count > protocol::kBlocksPerPublicationMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "begin: positions ", head.begin.first, " + ", count, ", next is ",
        handle.begun, " and the limit ", protocol::kBlocksPerPublicationMax));
  }
  const Group& group = groups_[head.group];
  const uint64_t slices = SlicesOf(group, handle);
  if (slices == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("begin: none of the session's slices 0x",
                     absl::Hex(handle.slice_set), " is in group ", head.group));
  }
  if (session.entries + count > protocol::kEntriesPerSessionMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "begin: open publications remember ", session.entries,
        " blocks, the limit is ", protocol::kEntriesPerSessionMax));
  }
  const std::span<const SubmitRecord> blocks = run.subspan(1);
  const uint32_t block_tokens =
      config_.geometry.groups[head.group].block_tokens;
  for (uint32_t i = 0; i < count; ++i) {
    if (blocks[i].begin_block.valid_tokens >= block_tokens) {
      return absl::InvalidArgumentError(absl::StrCat(
          "begin: block ", i, " has ", blocks[i].begin_block.valid_tokens,
          " valid tokens, a tail has less than the group's ", block_tokens));
    }
  }
  if (absl::Status status = CheckPool("begin", session, head.group, head.pool);
      !status.ok()) {
    return status;
  }
  const uint32_t area = AreaOf(head.group, head.pool);
  if (absl::Status status = CheckOffers(id, session, area, blocks);
      !status.ok()) {
    return status;
  }

  session.grants[area].recalled = false;  // it is at work
  session.grants[area].wanted = true;
  Publication& publication = *handle.publication;
  Answers answers(session.sink, head.handle);
  BlockKey parent{head.begin.parent_lo, head.begin.parent_hi};
  for (uint32_t i = 0; i < count; ++i) {
    const SubmitRecord& record = blocks[i];
    const BlockKey key{record.begin_block.key_lo, record.begin_block.key_hi};
    const uint32_t position = head.begin.first + i;
    const uint32_t offered = record.begin_block.block;
    uint32_t block = kNoBlock;
    const PublishAnswer answer =
        position < publication.entries.size()
            ? Join(publication.entries[position], handle, head.group, key,
                   slices, &block)
            : BeginNew(session, publication,
                       {.session = id,
                        .group = head.group,
                        .pool = head.pool,
                        .key = key,
                        .parent = parent,
                        .offered = offered,
                        .valid_tokens = record.begin_block.valid_tokens,
                        .slices = slices,
                        .standby = handle.standby,
                        .followable = handle.record != kNoRecord,
                        .now_ms = now_ms},
                       &block);
    if (offered <= protocol::kBlocksMax && block != offered) {
      session.grants[area].blocks.insert(offered);  // not taken
    }
    const bool owned =
        answer == PublishAnswer::kYours || answer == PublishAnswer::kStandby;
    handle.owned.push_back(owned);
    handle.owned_count += owned ? 1 : 0;
    answers.Add(position, answer, block == offered ? kNoBlock : block);
    parent = key;
  }
  handle.begun += count;
  Moved(handle, now_ms);
  session.entries += count;
  if (publication.ref.followable()) {
    directory_.SetBegun(publication.ref.slot,
                        static_cast<uint32_t>(publication.entries.size()));
    Tell(publication);
  }
  return absl::OkStatus();
}

PublishAnswer NamespaceCore::Join(PublicationEntry& entry, const Handle& handle,
                                  uint32_t group, const BlockKey& key,
                                  uint64_t slices, uint32_t* block) {
  if (entry.key != key || entry.group != group) return PublishAnswer::kVoid;
  switch (entry.state) {
    case EntryState::kWriting:
    case EntryState::kStandby:
      if ((entry.begun & slices) != 0) return PublishAnswer::kInFlight;
      // Left to those that readers know as the writers of these slices.
      if (handle.overlaps && entry.followable) return PublishAnswer::kInFlight;
      entry.begun |= slices;
      *block = entry.block;
      return entry.state == EntryState::kWriting ? PublishAnswer::kYours
                                                 : PublishAnswer::kStandby;
    case EntryState::kReady:
    case EntryState::kExists:
    case EntryState::kSuperseded:
      return PublishAnswer::kExists;
    case EntryState::kInFlight:
      return PublishAnswer::kInFlight;
    case EntryState::kNoSpace:
      return PublishAnswer::kNoSpace;
    case EntryState::kAborted:
      return PublishAnswer::kVoid;
  }
  return PublishAnswer::kVoid;
}

PublishAnswer NamespaceCore::BeginNew(Session& session,
                                      Publication& publication,
                                      const NewKey& key, uint32_t* block) {
  PublicationEntry entry;
  entry.key = key.key;
  entry.group = static_cast<uint8_t>(key.group);
  entry.state = EntryState::kNoSpace;
  entry.followable = key.followable;
  const uint32_t slot =
      key.offered == protocol::kAlreadyThere ? kNoSlot : index_.Find(entry.key);
  PublishAnswer answer = PublishAnswer::kNoSpace;
  if (LostSlices(publication, key.group) != 0) {
    entry.state = EntryState::kAborted;
    answer = PublishAnswer::kVoid;
  } else if (key.offered == protocol::kAlreadyThere) {
    entry.state = EntryState::kExists;
    answer = PublishAnswer::kExists;
  } else if (slot == kNoSlot) {
    if (TakeBlock(session, &entry, key) && Enter(publication, key, &entry)) {
      answer = PublishAnswer::kYours;
    }
  } else if (!PendingAt(slot)) {
    entry.state = EntryState::kExists;
    answer = PublishAnswer::kExists;
  } else if (MayStandBy(publication, key, slot) &&
             TakeBlock(session, &entry, key)) {
    entry.state = EntryState::kStandby;
    AddStandby(publication, key.key,
               static_cast<uint32_t>(publication.entries.size()));
    answer = PublishAnswer::kStandby;
  } else {
    entry.state = EntryState::kInFlight;
    answer = PublishAnswer::kInFlight;
  }
  if (entry.state == EntryState::kWriting ||
      entry.state == EntryState::kStandby) {
    ++publication.writing;
    *block = entry.block;
  }
  if (entry.state == EntryState::kNoSpace) ++counters_.no_space;
  publication.entries.push_back(entry);
  return answer;
}

bool NamespaceCore::TakeBlock(Session& session, PublicationEntry* entry,
                              const NewKey& key) {
  Grants& grants = session.grants[key.group];
  if (grants.in_flight >= areas_[key.group].in_flight_max) return false;
  const uint32_t gpu = key.pool == 0 ? kNoBlock : TakeGpuBlock(session, key);
  // Another block than the one that was offered would not do: the session may
  // have written, and said so, before it is answered.
  if (key.pool != 0 && key.offered != kNoBlock && gpu == kNoBlock) return false;
  const uint32_t host = key.pool == 0 && key.offered != kNoBlock
                            ? key.offered
                            : TakeFree(key.group, key.session, key.now_ms);
  if (host == kNoBlock) {
    if (gpu != kNoBlock && gpu != key.offered) blocks_.Free(gpu);
    return false;
  }
  for (const uint32_t block : {host, gpu}) {
    if (block == kNoBlock) continue;
    blocks_.Publish(block, key.session);
    blocks_.SetValidTokens(block, key.valid_tokens);
    BlockMeta& meta = blocks_.meta(block);
    meta.parent = kNoBlock;
    meta.children = 0;
  }
  ++grants.in_flight;
  if (gpu != kNoBlock) {
    blocks_.Pair(host, gpu);
    ++session.grants[AreaOf(key.group, key.pool)].in_flight;
  } else if (key.pool != 0) {
    ++pools_[key.pool - 1].spilled;
  }
  entry->block = gpu != kNoBlock ? gpu : host;
  entry->begun = key.slices;
  return true;
}

uint32_t NamespaceCore::TakeGpuBlock(Session& session, const NewKey& key) {
  const GpuPool& pool = pools_[key.pool - 1];
  const Grants& grants = session.grants[pool.area];
  if (!pool.up) return kNoBlock;
  if (key.offered == kNoBlock) {
    return grants.in_flight >= areas_[pool.area].in_flight_max
               ? kNoBlock
               : TakeFree(pool.area, key.session, key.now_ms);
  }
  // Its session may have written into it before this, into the memory before.
  const bool stale = grants.stale.contains(key.offered) &&
                     !IsMutant(Mutant::kStaleGrantPublishes);
  return stale ? kNoBlock : key.offered;
}

bool NamespaceCore::Enter(const Publication& publication, const NewKey& key,
                          PublicationEntry* entry) {
  const uint32_t block = entry->block;
  // The parent first: making room in a full bucket must not evict it.
  LinkParents(block, key.parent);
  const auto position = static_cast<uint32_t>(publication.entries.size());
  const uint32_t slot = InsertPending(
      key.key, block, AuxOf(publication, *entry, position), key.now_ms);
  if (slot != kNoSlot) {
    SetSlot(block, slot, key.now_ms);
    entry->state = EntryState::kWriting;
    return true;
  }
  UnlinkParents(block);
  FinishInFlight(*entry);
  QuarantineEntry(*entry);
  blocks_.Free(block);
  entry->block = kNoBlock;
  entry->begun = 0;
  if (block == key.offered) {
    // It was granted to the session and stays so; the client keeps nothing in
    // it that it would miss.
    KVFERRY_CHECK(blocks_.Grant(blocks_.area_of(block), key.session) == block);
  }
  return false;
}

uint32_t NamespaceCore::InsertPending(const BlockKey& key, uint32_t block,
                                      uint64_t aux, uint64_t now_ms) {
  const uint64_t word =
      blocks_.Residence(block, protocol::ResidenceState::kPending);
  const uint64_t host = blocks_.in_gpu(block) ? 0 : word;
  const uint64_t gpu = blocks_.in_gpu(block) ? word : 0;
  uint32_t slot = index_.Insert(key, host, aux, gpu);
  if (slot != kNoSlot) return slot;
  // Both buckets are full, which a load of 0.7 makes rare but not impossible.
  // The coldest of theirs that can go goes, tails before what they continue.
  std::vector<uint32_t> occupants;
  for (uint32_t at : index_.Occupants(key)) {
    const uint32_t other = HostBlockAt(at);
    if (blocks_.state(other) == BlockState::kReady) occupants.push_back(other);
  }
  std::sort(occupants.begin(), occupants.end(), [this](uint32_t a, uint32_t b) {
    const BlockMeta& x = blocks_.meta(a);
    const BlockMeta& y = blocks_.meta(b);
    if ((x.children == 0) != (y.children == 0)) {
      return x.children == 0;
    }
    return static_cast<int32_t>(x.last_use_ms - y.last_use_ms) < 0;
  });
  for (uint32_t other : occupants) {
    if (EvictBlocks({&other, 1}, now_ms).evicted > 0) break;
  }
  return index_.Insert(key, host, aux, gpu);
}

}  // namespace kvferry::core
