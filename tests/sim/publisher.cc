#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "tests/sim/client.h"

namespace kvferry::sim {

using protocol::kNoBlock;
using protocol::PublishAnswer;
using protocol::ReplyRecord;
using protocol::ReplyType;
using protocol::SubmitRecord;
using protocol::SubmitType;

namespace {

SubmitRecord Record(SubmitType type, uint32_t handle) {
  SubmitRecord record{};
  record.type = static_cast<uint8_t>(type);
  record.handle = handle;
  return record;
}

}  // namespace

Publisher::Publisher(World* world, uint16_t session, uint64_t slice_set)
    : Client(world, session), slice_set_(slice_set), grants_(2) {}

bool Publisher::idle() const {
  return !open_ && submissions_.empty() && replies_.empty();
}

uint32_t Publisher::unanswered() const {
  uint32_t count = 0;
  for (const Position& position : positions_) {
    count += position.answered == Answered::kNo ||
             position.answered == Answered::kEnding;
  }
  return count;
}

std::vector<BlockUse> Publisher::writable() const {
  std::vector<BlockUse> uses;
  for (const Position& position : positions_) {
    if (position.answered == Answered::kWriting) {
      uses.emplace_back(position.block, position.generation);
    }
  }
  return uses;
}

uint64_t Publisher::Slices() const {
  const uint32_t count = world_.geometry().groups[group_].slice_count;
  return count == 1 ? 1 : slice_set_ & ((uint64_t{1} << count) - 1);
}

void Publisher::OpenSome() {
  group_ = world_.Random(2);
  const uint32_t slices = world_.geometry().groups[group_].slice_count;
  const bool alone = std::popcount(slice_set_) == static_cast<int>(slices);
  // A rank joins what others opened, or opens what others may join.
  if (!alone && !world_.shared_identities_.empty() && world_.Chance(70)) {
    identity_ = world_.shared_identities_[world_.Random(
        static_cast<uint32_t>(world_.shared_identities_.size()))];
  } else {
    identity_ = world_.NewIdentity();
    world_.shared_identities_.push_back(identity_);
    if (world_.shared_identities_.size() > 4) {
      world_.shared_identities_.pop_front();
    }
  }
  // Group and chain follow from the identity: ranks must agree on them.
  group_ = identity_ % 2;
  chain_ = world_.Chain(group_, static_cast<uint32_t>(identity_ * 7 % 6), 8);
  positions_.clear();
  ++handle_;
  SubmitRecord open = Record(SubmitType::kOpen, handle_);
  open.open.engine_instance = 7;
  open.open.publication = identity_;
  open.open.slice_set = slice_set_;
  submissions_.push_back({open});
  open_ = true;
  closing_ = false;
}

void Publisher::BeginSome() {
  const auto first = static_cast<uint32_t>(positions_.size());
  const uint32_t count = std::min<uint32_t>(
      1 + world_.Random(4), static_cast<uint32_t>(chain_.size()) - first);
  if (count == 0) return;
  const uint32_t slices = world_.geometry().groups[group_].slice_count;
  const bool alone = std::popcount(Slices()) == static_cast<int>(slices);
  SubmitRecord head = Record(SubmitType::kBegin, handle_);
  head.group = static_cast<uint8_t>(group_);
  head.begin.first = first;
  head.begin.count = count;
  if (first > 0) {
    head.begin.parent_lo = chain_[first - 1].lo;
    head.begin.parent_hi = chain_[first - 1].hi;
  }
  std::vector<SubmitRecord> run = {head};
  for (uint32_t i = 0; i < count; ++i) {
    SubmitRecord block = Record(SubmitType::kBeginBlock, handle_);
    Position position;
    position.key = chain_[first + i];
    block.begin_block.key_lo = position.key.lo;
    block.begin_block.key_hi = position.key.hi;
    block.begin_block.block = kNoBlock;
    std::vector<uint32_t>& grants = grants_[group_];
    if (alone && !grants.empty() && world_.Chance(80)) {
      position.offered = grants.back();
      grants.pop_back();
      block.begin_block.block = position.offered;
    } else if (alone && world_.Chance(5)) {
      block.begin_block.block = protocol::kAlreadyThere;
    }
    run.push_back(block);
    positions_.push_back(position);
  }
  submissions_.push_back(run);
}

bool Publisher::WriteOne() {
  const uint64_t slices = Slices();
  for (Position& position : positions_) {
    if (position.answered != Answered::kWriting) continue;
    const uint64_t left = slices & ~position.written;
    if (left == 0) continue;
    const auto slice = static_cast<uint32_t>(std::countr_zero(left));
    world_.page(position.block, slice) = World::Content(position.key, slice);
    position.written |= uint64_t{1} << slice;
    return true;
  }
  return false;
}

void Publisher::EndSome(bool commit) {
  const uint64_t slices = Slices();
  // A random run of positions that can be ended this way.
  for (uint32_t tries = 0; tries < 4 && !positions_.empty(); ++tries) {
    const uint32_t first =
        world_.Random(static_cast<uint32_t>(positions_.size()));
    uint32_t count = 0;
    while (first + count < positions_.size()) {
      const Position& position = positions_[first + count];
      if (position.answered != Answered::kWriting) break;
      if (commit && position.written != slices) break;
      ++count;
    }
    if (count == 0) continue;
    SubmitRecord record =
        Record(commit ? SubmitType::kCommit : SubmitType::kAbort, handle_);
    record.range.first = first;
    record.range.count = count;
    submissions_.push_back({record});
    for (uint32_t i = 0; i < count; ++i) {
      positions_[first + i].answered = Answered::kEnding;
      positions_[first + i].committing = commit;
    }
    return;
  }
}

void Publisher::CloseIt() {
  submissions_.push_back({Record(SubmitType::kClose, handle_)});
  // What is still ours is aborted by the close: never written again.
  for (Position& position : positions_) {
    if (position.answered == Answered::kWriting) {
      position.answered = Answered::kEnded;
    }
  }
  closing_ = true;
}

void Publisher::TakeReply() {
  const ReplyRecord record = replies_.front();
  replies_.pop_front();
  switch (static_cast<ReplyType>(record.type)) {
    case ReplyType::kGrant:
      for (uint32_t i = 0; i < record.count; ++i) {
        grants_[record.group].push_back(record.blocks[i]);
      }
      return;
    case ReplyType::kRecall: {
      std::vector<uint32_t>& grants = grants_[record.group];
      while (!grants.empty()) {
        SubmitRecord give = Record(SubmitType::kReturn, 0);
        give.group = record.group;
        while (!grants.empty() && give.give_back.count < 12) {
          give.give_back.blocks[give.give_back.count++] = grants.back();
          grants.pop_back();
        }
        submissions_.push_back({give});
      }
      return;
    }
    case ReplyType::kAnswer:
    case ReplyType::kAnswerBlocks:
      break;
  }
  if (record.handle != handle_) return;  // of a publication closed since
  for (uint32_t i = 0; i < record.count; ++i) {
    Position& position = positions_[record.first + i];
    const auto answer = static_cast<PublishAnswer>(record.answer);
    if (position.answered == Answered::kEnding) {
      const bool fits =
          answer == PublishAnswer::kVoid ||
          (answer == PublishAnswer::kCommitted && position.committing);
      if (!fits) {
        world_.Fail(absl::StrCat("an end was answered by ", record.answer));
      }
      position.answered = Answered::kEnded;
      continue;
    }
    if (position.answered != Answered::kNo) {
      if (!closing_) world_.Fail("a position was answered twice");
      continue;
    }
    if (answer == PublishAnswer::kYours) {
      position.block =
          record.type == static_cast<uint8_t>(ReplyType::kAnswerBlocks)
              ? record.blocks[i]
              : position.offered;
      if (position.block == kNoBlock) {
        world_.Fail("an offer that was not made was taken");
        return;
      }
      // A cleared publication's block may have left meanwhile; the generation
      // is what the state says as long as this rank has not ended.
      position.generation = world_.state(position.block).generation;
      position.answered = Answered::kWriting;
    } else {
      if (position.offered != kNoBlock) {
        grants_[group_].push_back(position.offered);
      }
      position.answered = Answered::kElsewhere;
    }
  }
}

void Publisher::DoStep() {
  if (!replies_.empty() && world_.Chance(60)) {
    TakeReply();
    return;
  }
  if (!open_) {
    if (!winding_down_ && submissions_.empty()) OpenSome();
    return;
  }
  if (closing_) {
    // Closed once the daemon has it and every answer before was read.
    if (submissions_.empty() && replies_.empty()) open_ = false;
    return;
  }
  const uint32_t dice = world_.Random(100);
  if (dice < 25 && !winding_down_) {
    BeginSome();
  } else if (dice < 75) {
    if (!WriteOne()) EndSome(/*commit=*/true);
  } else if (dice < 88) {
    EndSome(/*commit=*/true);
  } else if (dice < 91) {
    EndSome(/*commit=*/false);
  } else if (unanswered() == 0 && submissions_.empty() &&
             (winding_down_ || positions_.size() == chain_.size() ||
              world_.Chance(10))) {
    CloseIt();
  }
}

}  // namespace kvferry::sim
