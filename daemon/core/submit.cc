// What a session's submission records do: NamespaceCore::Submit.

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "daemon/core/answers.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

using protocol::kBlocksPerRunMax;
using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ReplyRecord;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;

uint32_t NamespaceCore::RunLength(const SubmitRecord& head) {
  return head.type == static_cast<uint8_t>(SubmitType::kBegin)
             ? 1 + std::min(head.begin.count, kBlocksPerRunMax)
             : 1;
}

uint32_t NamespaceCore::RepliesMax(const SubmitRecord& head) {
  switch (static_cast<SubmitType>(head.type)) {
    case SubmitType::kOpen:
      return 1;
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
      status = Open(session, run[0], now_ms);
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
  EndFinished(now_ms);
  // After the run's answers, for which the caller made sure there is room.
  RecallWanted();
  TopUp(id, session, now_ms);
  return absl::OkStatus();
}

absl::Status NamespaceCore::Open(Session& session, const SubmitRecord& record,
                                 uint64_t now_ms) {
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
  if ((record.open.flags & ~protocol::kOpenStandby) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("open: flags 0x", absl::Hex(record.open.flags),
                     ", known are 0x", absl::Hex(protocol::kOpenStandby)));
  }
  if (record.open.stall_ms != 0 &&
      (record.open.stall_ms < protocol::kStallMsMin ||
       record.open.stall_ms > protocol::kStallMsMax)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "open: stalled after ", record.open.stall_ms, " ms, must be ",
        protocol::kStallMsMin, " to ", protocol::kStallMsMax));
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
    publication->ref = directory_.Open(now_ms);
  }
  StopLingering(publication.get());
  Handle& handle = it->second;
  // Two that write the same slices: the word of one would pass, as not its to
  // write, what the other is still writing. Readers know only the first. Where
  // blocks have one slice, everybody is known and everybody is asked.
  handle.overlaps =
      all_slices != 1 &&
      std::any_of(publication->slice_sets.begin(),
                  publication->slice_sets.end(), [&record](uint64_t slice_set) {
                    return (slice_set & record.open.slice_set) != 0;
                  });
  publication->slice_sets.push_back(record.open.slice_set);
  publication->lost_slices &= ~record.open.slice_set;
  handle.publication = publication.get();
  handle.slice_set = record.open.slice_set;
  handle.standby = (record.open.flags & protocol::kOpenStandby) != 0;
  Moved(handle, now_ms);
  handle.stall_ms = record.open.stall_ms == 0 ? protocol::kStallMsDefault
                                              : record.open.stall_ms;
  if (session.grants.empty()) {
    session.grants.resize(areas_.size());
    for (uint32_t i = 0; i < protocol::kProgressRecords; ++i) {
      session.free_records.push_back(static_cast<uint8_t>(i));
    }
  }
  ReplyRecord reply{};
  reply.type = static_cast<uint8_t>(ReplyType::kOpened);
  reply.handle = record.handle;
  if (!handle.overlaps && TakeRecord(session, *publication, &handle)) {
    reply.first = publication->ref.slot;
    reply.count = publication->ref.generation;
    reply.blocks[0] = handle.record;
  }
  session.sink->Push(reply);  // the caller asked RepliesMax
  return absl::OkStatus();
}

bool NamespaceCore::TakeRecord(Session& session, const Publication& publication,
                               Handle* handle) {
  if (!publication.ref.followable() || session.memory.progress == nullptr) {
    return false;
  }
  // First in, first out: who has just read of a record finds it unchanged for
  // as long as can be. Not one that an earlier handle of this publication left
  // behind: its word would count for the new one's slices.
  const auto record = std::find_if(
      session.free_records.begin(), session.free_records.end(),
      [&](uint8_t free) {
        return protocol::UnpackProgress(session.progress.Word(free))
                   .generation != publication.ref.generation;
      });
  if (record == session.free_records.end()) return false;
  const protocol::WriterRef writer{session.progress_file, *record};
  const bool shared =
      std::all_of(groups_.begin(), groups_.end(),
                  [](const Group& group) { return group.all_slices == 1; });
  if (shared) {
    if (!directory_.AddSharer(publication.ref.slot, writer)) return false;
  } else {
    directory_.AddWriter(publication.ref.slot, handle->slice_set, writer);
  }
  handle->record = *record;
  handle->progress_word = session.progress.Word(*record);
  session.free_records.erase(record);
  return true;
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
      --handle.owned_count;
      answer =
          EndPosition(*handle.publication, entry,
                      SlicesOf(groups_[entry.group], handle), commit, now_ms);
    } else if (entry.state == EntryState::kReady ||
               entry.state == EntryState::kExists ||
               entry.state == EntryState::kSuperseded) {
      answer = PublishAnswer::kExists;
    }
    answers.Add(p, answer, kNoBlock);
  }
  Moved(handle, now_ms);
  Tell(*handle.publication);
  return absl::OkStatus();
}

PublishAnswer NamespaceCore::EndPosition(Publication& publication,
                                         PublicationEntry& entry,
                                         uint64_t slices, bool commit,
                                         uint64_t now_ms) {
  // Taken from the writer's progress before (AdoptProgress).
  if ((entry.committed & slices) == slices) {
    return commit ? PublishAnswer::kCommitted : PublishAnswer::kVoid;
  }
  if (commit && (entry.state == EntryState::kWriting ||
                 entry.state == EntryState::kStandby)) {
    CommitSlices(publication, entry, slices, now_ms);
    return PublishAnswer::kCommitted;
  }
  const bool superseded = entry.state == EntryState::kSuperseded;
  ReleaseSlices(publication, entry, slices, now_ms);
  return commit && superseded ? PublishAnswer::kExists : PublishAnswer::kVoid;
}

absl::Status NamespaceCore::GiveBack(uint16_t id, Session& session,
                                     const SubmitRecord& record) {
  const uint32_t count = record.give_back.count;
  if (count == 0 || count > std::size(record.give_back.blocks) ||
      record.group >= groups_.size() || session.grants.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("return: ", count, " blocks of group ", record.group));
  }
  if (absl::Status status =
          CheckPool("return", session, record.group, record.pool);
      !status.ok()) {
    return status;
  }
  Grants& grants = session.grants[AreaOf(record.group, record.pool)];
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
  for (uint32_t i = 0; i < count; ++i) {
    grants.stale.erase(record.give_back.blocks[i]);
    blocks_.Free(record.give_back.blocks[i]);
  }
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
