// What a session's submission records do: NamespaceCore::Submit.

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::BlockState;
using protocol::kBlocksPerReply;
using protocol::kBlocksPerRunMax;
using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ReplyRecord;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;

// Neighbouring positions with the same answer become one record; blocks that
// the daemon chose travel twelve a record.
class NamespaceCore::Answers {
 public:
  Answers(ReplySink* sink, uint32_t handle) : sink_(sink) {
    record_.handle = handle;
  }
  ~Answers() { Flush(); }

  // `block` is kNoBlock unless the client does not know it yet.
  void Add(uint32_t position, PublishAnswer answer, uint32_t block) {
    const ReplyType type =
        block == kNoBlock ? ReplyType::kAnswer : ReplyType::kAnswerBlocks;
    if (record_.count > 0 &&
        (record_.type != static_cast<uint8_t>(type) ||
         record_.answer != static_cast<uint8_t>(answer) ||
         (block != kNoBlock && record_.count == kBlocksPerReply))) {
      Flush();
    }
    if (record_.count == 0) {
      record_.type = static_cast<uint8_t>(type);
      record_.answer = static_cast<uint8_t>(answer);
      record_.first = position;
    }
    if (block != kNoBlock) record_.blocks[record_.count] = block;
    ++record_.count;
  }

 private:
  void Flush() {
    if (record_.count == 0) return;
    KVFERRY_CHECK(sink_->Room() > 0);  // the caller asked RepliesMax
    sink_->Push(record_);
    record_.count = 0;
  }

  ReplySink* const sink_;
  ReplyRecord record_{};
};

uint32_t NamespaceCore::RunLength(const SubmitRecord& head) {
  return head.type == static_cast<uint8_t>(SubmitType::kBegin)
             ? 1 + std::min(head.begin.count, kBlocksPerRunMax)
             : 1;
}

uint32_t NamespaceCore::RepliesMax(const SubmitRecord& head) {
  switch (static_cast<SubmitType>(head.type)) {
    case SubmitType::kBegin:
      return std::min(head.begin.count, kBlocksPerRunMax);
    case SubmitType::kCommit:
    case SubmitType::kAbort:
      return std::min(head.range.count, kBlocksPerRunMax);
    default:
      return 0;
  }
}

absl::Status NamespaceCore::Submit(uint16_t id,
                                   std::span<const SubmitRecord> run,
                                   uint64_t now_ms) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end() || run.empty()) {
    return absl::NotFoundError(absl::StrCat("no session ", id));
  }
  Session& session = it->second;
  if (!session.may_publish) {
    return absl::PermissionDeniedError(
        absl::StrCat("record of type ", run[0].type,
                     " from a session that may not publish"));
  }
  absl::Status status;
  switch (static_cast<SubmitType>(run[0].type)) {
    case SubmitType::kOpen:
      status = Open(session, run[0]);
      break;
    case SubmitType::kBegin:
      status = Begin(id, session, run, now_ms);
      break;
    case SubmitType::kCommit:
    case SubmitType::kAbort:
      status = EndRange(id, session, run[0], now_ms);
      break;
    case SubmitType::kReturn:
      status = GiveBack(id, session, run[0]);
      break;
    case SubmitType::kClose:
      status = Close(id, session, run[0], now_ms);
      break;
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("record of type ", run[0].type, " begins no run"));
  }
  if (!status.ok()) return status;
  // After the run's answers, for which the caller made sure there is room.
  RecallWanted();
  TopUp(id, session, now_ms);
  return absl::OkStatus();
}

absl::Status NamespaceCore::Open(Session& session, const SubmitRecord& record) {
  if (session.handles.size() >= protocol::kPublicationsPerSessionMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("open: ", session.handles.size(),
                     " publications are open, the limit is ",
                     protocol::kPublicationsPerSessionMax));
  }
  uint64_t all_slices = 0;
  for (const Group& group : groups_) all_slices |= group.all_slices;
  if (record.open.slice_set == 0 ||
      (record.open.slice_set & ~all_slices) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("open: slice set 0x", absl::Hex(record.open.slice_set),
                     " is no part of 0x", absl::Hex(all_slices)));
  }
  const auto [it, added] = session.handles.try_emplace(record.handle);
  if (!added) {
    return absl::AlreadyExistsError(
        absl::StrCat("open: handle ", record.handle, " is open"));
  }
  const PublicationIdentity identity{record.open.engine_instance,
                                     record.open.publication};
  std::unique_ptr<Publication>& publication = publications_[identity];
  if (publication == nullptr) {
    publication = std::make_unique<Publication>();
    publication->identity = identity;
  }
  StopLingering(publication.get());
  ++publication->open_handles;
  it->second.publication = publication.get();
  it->second.slice_set = record.open.slice_set;
  if (session.grants.empty()) session.grants.resize(groups_.size());
  return absl::OkStatus();
}

absl::Status NamespaceCore::CheckOffers(uint16_t id, Session& session,
                                        uint32_t group,
                                        std::span<const SubmitRecord> blocks) {
  absl::flat_hash_set<uint32_t>& granted = session.grants[group].blocks;
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
                       id, " in group ", group));
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
  if (absl::Status status = CheckOffers(id, session, head.group, blocks);
      !status.ok()) {
    return status;
  }

  session.grants[head.group].recalled = false;  // it is at work
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
            ? Join(publication.entries[position], head.group, key, slices,
                   &block)
            : BeginNew(id, session, publication, head.group, record, parent,
                       slices, now_ms, &block);
    if (offered <= protocol::kBlocksMax && block != offered) {
      session.grants[head.group].blocks.insert(offered);  // not taken
    }
    handle.owned.push_back(answer == PublishAnswer::kYours);
    answers.Add(position, answer, block == offered ? kNoBlock : block);
    parent = key;
  }
  handle.begun += count;
  session.entries += count;
  return absl::OkStatus();
}

PublishAnswer NamespaceCore::Join(PublicationEntry& entry, uint32_t group,
                                  const BlockKey& key, uint64_t slices,
                                  uint32_t* block) {
  if (entry.key != key || entry.group != group) return PublishAnswer::kVoid;
  switch (entry.state) {
    case EntryState::kWriting:
      if ((entry.begun & slices) != 0) return PublishAnswer::kInFlight;
      entry.begun |= slices;
      *block = entry.block;
      return PublishAnswer::kYours;
    case EntryState::kReady:
    case EntryState::kExists:
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

PublishAnswer NamespaceCore::BeginNew(uint16_t id, Session& session,
                                      Publication& publication, uint32_t group,
                                      const SubmitRecord& record,
                                      const BlockKey& parent, uint64_t slices,
                                      uint64_t now_ms, uint32_t* block) {
  PublicationEntry entry;
  entry.key = {record.begin_block.key_lo, record.begin_block.key_hi};
  entry.group = static_cast<uint8_t>(group);
  entry.state = EntryState::kNoSpace;
  const uint32_t offered = record.begin_block.block;
  GroupGrants& grants = session.grants[group];

  const uint32_t slot =
      offered == protocol::kAlreadyThere ? kNoSlot : index_.Find(entry.key);
  if (offered == protocol::kAlreadyThere) {
    entry.state = EntryState::kExists;
  } else if (slot != kNoSlot) {
    const auto residence = protocol::UnpackResidence(index_.host(slot));
    entry.state = residence.state == protocol::ResidenceState::kPending
                      ? EntryState::kInFlight
                      : EntryState::kExists;
  } else if (grants.in_flight < groups_[group].in_flight_max) {
    const bool was_offered = offered != kNoBlock;
    const uint32_t chosen = was_offered ? offered : TakeFree(group, id, now_ms);
    if (chosen != kNoBlock) {
      blocks_.Publish(chosen, id);
      // The parent first: making room in a full bucket must not evict it.
      LinkParent(chosen, parent);
      const uint32_t at = InsertPending(entry.key, chosen, now_ms);
      if (at != kNoSlot) {
        blocks_.meta(chosen).slot = at;
        blocks_.meta(chosen).last_use_ms = static_cast<uint32_t>(now_ms);
        entry.block = chosen;
        entry.begun = slices;
        entry.state = EntryState::kWriting;
        ++publication.writing;
        ++grants.in_flight;
        *block = chosen;
      } else {
        UnlinkParent(chosen);
        blocks_.Quarantine(chosen);
        blocks_.Free(chosen);
        if (was_offered) {
          // It was granted to the session and stays so; the client keeps
          // nothing in it that it would miss.
          KVFERRY_CHECK(blocks_.Grant(group, id) == chosen);
        }
      }
    }
  }
  if (entry.state == EntryState::kNoSpace) ++counters_.no_space;
  publication.entries.push_back(entry);
  switch (entry.state) {
    case EntryState::kWriting:
      return PublishAnswer::kYours;
    case EntryState::kExists:
      return PublishAnswer::kExists;
    case EntryState::kInFlight:
      return PublishAnswer::kInFlight;
    default:
      return PublishAnswer::kNoSpace;
  }
}

uint32_t NamespaceCore::InsertPending(const BlockKey& key, uint32_t block,
                                      uint64_t now_ms) {
  const uint64_t word =
      blocks_.Residence(block, protocol::ResidenceState::kPending);
  uint32_t slot = index_.Insert(key, word, /*aux=*/0);
  if (slot != kNoSlot) return slot;
  // Both buckets are full, which a load of 0.7 makes rare but not impossible.
  // The coldest of theirs that can go goes, tails before what they continue.
  std::vector<uint32_t> occupants;
  for (uint32_t at : index_.Occupants(key)) {
    const uint32_t other = protocol::UnpackResidence(index_.host(at)).block;
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
  return index_.Insert(key, word, /*aux=*/0);
}

absl::Status NamespaceCore::EndRange(uint16_t id, Session& session,
                                     const SubmitRecord& record,
                                     uint64_t now_ms) {
  const bool commit = record.type == static_cast<uint8_t>(SubmitType::kCommit);
  const char* const verb = commit ? "commit" : "abort";
  const auto found = session.handles.find(record.handle);
  if (found == session.handles.end()) {
    return absl::NotFoundError(absl::StrCat(
        verb, ": handle ", record.handle, " of session ", id, " is not open"));
  }
  Handle& handle = found->second;
  const uint64_t end = uint64_t{record.range.first} + record.range.count;
  if (record.range.count == 0 || record.range.count > kBlocksPerRunMax ||
      end > handle.begun) {
    return absl::InvalidArgumentError(absl::StrCat(
        verb, ": positions ", record.range.first, " + ", record.range.count,
        " (at most ", kBlocksPerRunMax, "), begun are ", handle.begun));
  }
  Answers answers(session.sink, record.handle);
  for (uint32_t p = record.range.first; p < end; ++p) {
    PublicationEntry& entry = handle.publication->entries[p];
    PublishAnswer answer = PublishAnswer::kVoid;
    if (handle.owned[p]) {
      handle.owned[p] = false;
      const uint64_t slices = SlicesOf(groups_[entry.group], handle);
      if (commit && entry.state == EntryState::kWriting) {
        CommitSlices(*handle.publication, entry, slices, now_ms);
        answer = PublishAnswer::kCommitted;
      } else {
        ReleaseSlices(*handle.publication, entry, slices);
      }
    } else if (entry.state == EntryState::kReady ||
               entry.state == EntryState::kExists) {
      answer = PublishAnswer::kExists;
    }
    answers.Add(p, answer, kNoBlock);
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::GiveBack(uint16_t id, Session& session,
                                     const SubmitRecord& record) {
  const uint32_t count = record.give_back.count;
  if (count == 0 || count > std::size(record.give_back.blocks) ||
      record.group >= session.grants.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("return: ", count, " blocks of group ", record.group));
  }
  GroupGrants& grants = session.grants[record.group];
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t block = record.give_back.blocks[i];
    if (grants.blocks.erase(block) == 0) {
      for (uint32_t k = 0; k < i; ++k) {
        grants.blocks.insert(record.give_back.blocks[k]);
      }
      return absl::InvalidArgumentError(absl::StrCat(
          "return: block ", block, " is not granted to session ", id));
    }
  }
  for (uint32_t i = 0; i < count; ++i) blocks_.Free(record.give_back.blocks[i]);
  grants.recalled = true;  // no top-up before it begins again
  return absl::OkStatus();
}

absl::Status NamespaceCore::Close(uint16_t id, Session& session,
                                  const SubmitRecord& record, uint64_t now_ms) {
  const auto found = session.handles.find(record.handle);
  if (found == session.handles.end()) {
    return absl::NotFoundError(absl::StrCat(
        "close: handle ", record.handle, " of session ", id, " is not open"));
  }
  CloseHandle(session, found->second, /*died=*/false, now_ms);
  session.handles.erase(found);
  return absl::OkStatus();
}

}  // namespace kvferry::core
