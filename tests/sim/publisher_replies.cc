// What a publisher makes of the daemon's answers, and which it accepts.

#include "absl/strings/str_cat.h"
#include "tests/sim/publisher.h"
#include "tests/sim/submit_record.h"

namespace kvferry::sim {

using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ReplyRecord;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;

void Publisher::TakeReply() {
  const ReplyRecord record = replies_.front();
  replies_.pop_front();
  switch (static_cast<ReplyType>(record.type)) {
    case ReplyType::kGrant:
      for (uint32_t i = 0; i < record.count; ++i) {
        grants_[{record.group, record.pool}].push_back(record.blocks[i]);
      }
      return;
    case ReplyType::kRecall:
      GiveBack(record.group, record.pool);
      return;
    case ReplyType::kOpened:
      TakeOpened(record);
      return;
    case ReplyType::kAnswer:
    case ReplyType::kAnswerBlocks:
      break;
  }
  if (record.handle != handle_.handle) {
    world_.Fail("an answer came after the close that it was before");
    return;
  }
  for (uint32_t i = 0; i < record.count; ++i) {
    Position& position = positions_[record.first + i];
    if (position.begun == Begun::kUnanswered) {
      TakeBegun(position, record, i);
    } else if (position.ended == Ended::kAsked) {
      TakeEnded(position, record);
    } else {
      world_.Fail("a position was answered twice");
    }
  }
}

void Publisher::GiveBack(uint32_t group, uint32_t pool) {
  std::vector<uint32_t>& grants = grants_[{group, pool}];
  while (!grants.empty()) {
    SubmitRecord give = MakeRecord(SubmitType::kReturn, 0);
    give.group = static_cast<uint8_t>(group);
    give.pool = static_cast<uint8_t>(pool);
    while (!grants.empty() && give.give_back.count < 12) {
      give.give_back.blocks[give.give_back.count++] = grants.back();
      grants.pop_back();
    }
    submissions_.push_back({give});
  }
}

void Publisher::TakeOpened(const ReplyRecord& record) {
  if (record.handle != handle_.handle || opened_) {
    world_.Fail("an open was answered that was not asked for");
    return;
  }
  opened_ = true;
  generation_ = record.count;
  if (generation_ == 0) {
    ++world_.totals().unfollowable;
    return;
  }
  record_ = record.blocks[0];
  // What an earlier publication left: not its hand-over data under our word.
  progress_record().hand_over_bytes.store(0);
  progress_record().given_up.store(0);
  actions_.push_back({ActionType::kWord});
}

void Publisher::TakeBegun(Position& position, const ReplyRecord& record,
                          uint32_t i) {
  const auto answer = static_cast<PublishAnswer>(record.answer);
  if (answer != PublishAnswer::kYours && answer != PublishAnswer::kStandby) {
    position.begun = Begun::kElsewhere;
    position.block = kNoBlock;
    if (position.offered != kNoBlock) {
      grants_[{handle_.group, position.pool}].push_back(position.offered);
    }
    return;
  }
  const bool chosen =
      record.type == static_cast<uint8_t>(ReplyType::kAnswerBlocks);
  const uint32_t block = chosen ? record.blocks[i] : position.offered;
  if (block == kNoBlock || (hasty_ && !chosen && position.block != block)) {
    world_.Fail("an offer that was not made was taken");
    return;
  }
  if (position.block == kNoBlock) {
    position.block = block;
    // A cleared publication's block may have left meanwhile; the generation is
    // what the state says as long as this rank has not ended.
    position.generation = world_.state(block).generation;
  }
  position.begun = Begun::kMine;
  position.standby = answer == PublishAnswer::kStandby;
}

void Publisher::TakeEnded(Position& position, const ReplyRecord& record) {
  const auto answer = static_cast<PublishAnswer>(record.answer);
  const bool elsewhere = position.begun == Begun::kElsewhere;
  const bool fits =
      answer == PublishAnswer::kVoid ||
      (answer == PublishAnswer::kCommitted && position.committed &&
       !elsewhere) ||
      // The other was faster; or it stood still and its word was taken.
      (answer == PublishAnswer::kExists &&
       (elsewhere || position.standby || position.passed));
  if (!fits) {
    world_.Fail(absl::StrCat("an end was answered by ", record.answer));
  }
  position.ended = Ended::kAnswered;
}

}  // namespace kvferry::sim
