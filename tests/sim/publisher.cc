#include "tests/sim/publisher.h"

#include <algorithm>
#include <bit>

#include "tests/sim/submit_record.h"

namespace kvferry::sim {

using protocol::kNoBlock;
using protocol::SubmitRecord;
using protocol::SubmitType;

Publisher::Publisher(World* world, uint16_t session, uint64_t slice_set)
    : Client(world, session), slice_set_(slice_set) {}

bool Publisher::idle() const {
  return !open_ && submissions_.empty() && replies_.empty();
}

bool Publisher::Mine(const Position& position) {
  return position.ended == Ended::kNo && !position.aborted &&
         (position.begun == Begun::kMine ||
          (position.begun == Begun::kUnanswered && position.block != kNoBlock));
}

bool Publisher::Stands(const Position& position) const {
  return world_.Stands(position.block, position.incarnation);
}

uint32_t Publisher::unanswered() const {
  uint32_t count = 0;
  for (const Position& position : positions_) {
    count +=
        position.begun == Begun::kUnanswered || position.ended == Ended::kAsked;
  }
  return count;
}

std::vector<BlockUse> Publisher::writable() const {
  std::vector<BlockUse> uses;
  for (const Position& position : positions_) {
    if (Mine(position) && !position.committed) {
      uses.emplace_back(position.block, position.generation);
    }
  }
  return uses;
}

const OpenHandle* Publisher::open_handle() const {
  return open_ && opened_ && !closing_ ? &handle_ : nullptr;
}

uint64_t Publisher::Slices() const {
  const uint32_t count = world_.geometry().groups[handle_.group].slice_count;
  return count == 1 ? 1 : slice_set_ & ((uint64_t{1} << count) - 1);
}

uint64_t Publisher::Pages() const {
  uint64_t pages = 0;
  for (uint32_t layer = 0; layer < World::kLayers; ++layer) {
    pages |= Slices() << (layer * World::kSlices);
  }
  return pages;
}

void Publisher::OpenSome() {
  // A rank joins what others opened, or opens what others may join.
  const bool alone = slice_set_ == 0b111;
  identity_ =
      !alone && world_.Chance(70) ? world_.SharedIdentity() : uint64_t{0};
  if (identity_ == 0) identity_ = world_.NewIdentity(/*shared=*/!alone);
  // Group and chain follow from the identity: ranks must agree on them.
  handle_ = {handle_.handle + 1, World::GroupOf(identity_),
             world_.ChainOf(identity_, World::kChainBlocks)};
  positions_.clear();
  constexpr uint32_t kStallsMs[] = {300, 1500, 6000, 0};
  SubmitRecord open = MakeRecord(SubmitType::kOpen, handle_.handle);
  open.open.engine_instance = 7;
  open.open.publication = identity_;
  open.open.slice_set = slice_set_;
  open.open.stall_ms = kStallsMs[world_.Random(4)];
  open.open.flags = world_.Chance(60) ? protocol::kOpenStandby : 0;
  stall_ms_ = open.open.stall_ms;
  hasty_ = alone && world_.Chance(40);
  submissions_.push_back({open});
  open_ = true;
  opened_ = false;
  closing_ = false;
  generation_ = 0;
  layers_ = 0;
  chunk_end_ = 0;
  hand_over_.clear();
}

void Publisher::BeginSome() {
  const auto first = static_cast<uint32_t>(positions_.size());
  const uint32_t count =
      std::min<uint32_t>(1 + world_.Random(4),
                         static_cast<uint32_t>(handle_.chain.size()) - first);
  if (count == 0) return;
  const uint32_t slices = world_.geometry().groups[handle_.group].slice_count;
  const bool alone = std::popcount(Slices()) == static_cast<int>(slices);
  SubmitRecord head = MakeRecord(SubmitType::kBegin, handle_.handle);
  head.group = static_cast<uint8_t>(handle_.group);
  head.begin.first = first;
  head.begin.count = count;
  if (first > 0) {
    head.begin.parent_lo = handle_.chain[first - 1].lo;
    head.begin.parent_hi = handle_.chain[first - 1].hi;
  }
  const uint32_t pool =
      // Ranks that cannot all reach the device mostly find out before.
      world_.Chance(alone ? 80 : 30) ? world_.PoolFor(handle_.group, device_)
                                     : 0;
  head.pool = static_cast<uint8_t>(pool);
  std::vector<SubmitRecord> run = {head};
  for (uint32_t i = 0; i < count; ++i) {
    SubmitRecord block = MakeRecord(SubmitType::kBeginBlock, handle_.handle);
    Position position;
    position.key = handle_.chain[first + i];
    position.pool = pool;
    block.begin_block.key_lo = position.key.lo;
    block.begin_block.key_hi = position.key.hi;
    block.begin_block.block = kNoBlock;
    std::vector<uint32_t>& grants = grants_[{handle_.group, pool}];
    if (alone && !grants.empty() && world_.Chance(80)) {
      position.offered = grants.back();
      grants.pop_back();
      block.begin_block.block = position.offered;
      if (hasty_) {
        position.block = position.offered;
        position.generation = world_.state(position.block).generation + 1;
      }
    } else if (alone && world_.Chance(5)) {
      block.begin_block.block = protocol::kAlreadyThere;
    }
    run.push_back(block);
    positions_.push_back(position);
  }
  submissions_.push_back(run);
}

bool Publisher::WriteOne() {
  // Mostly layer by layer, as a model computes, sometimes from the end.
  const bool backwards = world_.Chance(15);
  for (Position& position : positions_) {
    if (!Mine(position)) continue;
    const uint64_t left = Pages() & ~position.written;
    const uint32_t imported = Imported(position.block);
    if (left == 0 || imported == 0 || world_.Chance(20)) continue;
    if (position.written == 0) position.incarnation = imported;
    const int bit =
        backwards ? 63 - std::countl_zero(left) : std::countr_zero(left);
    const uint32_t slice = static_cast<uint32_t>(bit) % World::kSlices;
    const uint32_t layer = static_cast<uint32_t>(bit) / World::kSlices;
    world_.page(position.block, slice, layer, position.incarnation) =
        World::Content(position.key, slice, layer);
    position.written |= uint64_t{1} << bit;
    return true;
  }
  return false;
}

void Publisher::EndSome(bool commit) {
  // A random run of positions that can be ended this way; mostly the first.
  for (uint32_t tries = 0; tries < 4 && !positions_.empty(); ++tries) {
    const auto size = static_cast<uint32_t>(positions_.size());
    const uint32_t leading = Leading();
    const uint32_t first = commit && leading < size && world_.Chance(70)
                               ? leading
                               : world_.Random(size);
    uint32_t count = 0;
    while (first + count < size) {
      const Position& position = positions_[first + count];
      if (!Mine(position)) break;
      if (commit && (position.written != Pages() || !Stands(position))) break;
      ++count;
    }
    if (count == 0) continue;
    Action submit{ActionType::kSubmit,
                  MakeRecord(commit ? SubmitType::kCommit : SubmitType::kAbort,
                             handle_.handle)};
    submit.record.range.first = first;
    submit.record.range.count = count;
    for (uint32_t i = 0; i < count; ++i) {
      Position& position = positions_[first + i];
      position.ended = Ended::kAsked;
      position.committed = commit;
      position.aborted = !commit;
    }
    // Readers are told before the daemon is, or after.
    const bool word_first = commit && world_.Chance(60);
    if (word_first) actions_.push_back({ActionType::kWord});
    actions_.push_back(submit);
    if (commit && !word_first) actions_.push_back({ActionType::kWord});
    return;
  }
}

void Publisher::CloseIt() {
  // What is still ours is aborted by the close: never written again.
  bool gives_up = false;
  for (Position& position : positions_) {
    if (!Mine(position)) continue;
    position.aborted = true;
    position.ended = Ended::kAnswered;
    gives_up = true;
  }
  if (gives_up) actions_.push_back({ActionType::kGiveUp});
  actions_.push_back(
      {ActionType::kSubmit, MakeRecord(SubmitType::kClose, handle_.handle)});
  closing_ = true;
}

void Publisher::DoStep() {
  if (world_.now_ms() < stands_until_ms_ && !winding_down_) return;
  if (!replies_.empty() && world_.Chance(60)) {
    TakeReply();
    return;
  }
  if (!open_) {
    if (!winding_down_ && submissions_.empty()) OpenSome();
    return;
  }
  if (!actions_.empty() && (closing_ || world_.Chance(75))) {
    const Action action = actions_.front();
    actions_.pop_front();
    Do(action);
    return;
  }
  if (closing_) {
    // Closed once the daemon has it and every answer before was read.
    if (submissions_.empty() && replies_.empty()) {
      open_ = false;
      world_.HandleEnded(session_, handle_.handle);
    }
    return;
  }
  if (stall_ms_ != 0 && stall_ms_ < 6000 && world_.Chance(1)) {
    stands_until_ms_ =
        world_.now_ms() + world_.Random(3 * static_cast<uint32_t>(stall_ms_));
    return;
  }
  const uint32_t dice = world_.Random(100);
  const bool begun_all =
      winding_down_ || positions_.size() == handle_.chain.size();
  if (dice < 22 && !begun_all) {
    BeginSome();
  } else if (dice < 76) {
    if (!WriteOne()) EndSome(/*commit=*/true);
  } else if (dice < 83) {
    EndSome(/*commit=*/true);
  } else if (dice < 86) {
    LayerSome();
  } else if (dice < 88) {
    SetHandOver();
  } else if (dice < 91) {
    if (world_.Chance(25)) EndSome(/*commit=*/false);
  } else if (unanswered() == 0 && submissions_.empty() && actions_.empty()) {
    // Mostly when all is written; now and then it ends shorter, or gives up.
    const bool written =
        std::none_of(positions_.begin(), positions_.end(), Mine);
    if (!(written && begun_all) && !world_.Chance(written ? 10 : 4)) return;
    CloseIt();
  }
}

}  // namespace kvferry::sim
