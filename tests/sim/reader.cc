#include "tests/sim/reader.h"

#include "absl/strings/str_cat.h"

namespace kvferry::sim {

std::vector<BlockUse> Reader::validated() const {
  std::vector<BlockUse> uses;
  for (const Hit& hit : hits_) {
    if (!hit.valid) continue;
    const auto residence = protocol::UnpackResidence(hit.word);
    uses.emplace_back(residence.block, residence.generation);
  }
  return uses;
}

void Reader::FindAll() {
  const uint64_t identity = world_.RecentIdentity();
  group_ = World::GroupOf(identity);
  hits_.clear();
  for (const BlockKey& key :
       world_.ChainOf(identity, 1 + world_.Random(World::kChainBlocks))) {
    const uint32_t slot = world_.FindSlot(key);
    if (slot == core::kNoSlot) break;
    const auto ready = [](uint64_t word) {
      return protocol::UnpackResidence(word).state ==
             protocol::ResidenceState::kReady;
    };
    Hit hit{key, slot, world_.gpu(slot)};
    hit.incarnation = Imported(protocol::UnpackResidence(hit.word).block);
    hit.in_gpu = ready(hit.word) && hit.incarnation != 0;
    if (!hit.in_gpu) {
      hit.word = world_.host(slot);
      hit.incarnation = 1;
      if (!ready(hit.word)) break;
    }
    hits_.push_back(hit);
  }
}

void Reader::Touch() {
  const uint64_t tail = header().touch_tail;
  protocol::TouchRecord& touch = file_.At<protocol::TouchRecord>(
      protocol::kTouchRingOffset)[tail % protocol::kTouchRecords];
  touch.deepest_hit = hits_.empty() ? 0 : hits_.back().word;
  // Now and then what a hostile or torn client would leave.
  if (world_.Chance(5)) {
    touch.deepest_hit =
        uint64_t{world_.Random(1u << 31)} << 32 | world_.Random(1u << 31);
  }
  header().touch_tail =
      world_.Chance(2) ? tail + world_.Random(5000) : tail + 1;
  header().match_calls = header().match_calls + 1;
}

void Reader::DoStep() {
  switch (phase_) {
    case Phase::kIdle:
      if (winding_down_) return;
      FindAll();
      at_ = 0;
      phase_ = hits_.empty() ? Phase::kIdle : Phase::kPin;
      return;
    case Phase::kPin:
      pin(protocol::UnpackResidence(hits_[at_].word).block).fetch_add(1);
      hits_[at_].pinned = true;
      if (++at_ == hits_.size()) {
        at_ = 0;
        phase_ = Phase::kValidate;
      }
      return;
    case Phase::kValidate: {
      Hit& hit = hits_[at_];
      hit.valid = world_.word(hit.slot, hit.in_gpu) == hit.word &&
                  world_.key(hit.slot) == hit.key;
      if (hit.valid) world_.CheckNotCleared(hit.word);
      if (++at_ == hits_.size()) {
        Touch();
        reads_left_ = world_.Random(12);
        phase_ = Phase::kRead;
      }
      return;
    }
    case Phase::kRead: {
      for (const Hit& hit : hits_) {
        if (!hit.valid) continue;
        const uint32_t block = protocol::UnpackResidence(hit.word).block;
        const bool holds =
            world_.Holds(group_, block, hit.key, hit.incarnation);
        if (!world_.Stands(block, hit.incarnation)) {
          ++world_.totals().gpu_misses;
          continue;
        }
        if (hit.in_gpu) ++world_.totals().gpu_reads;
        if (!holds) {
          world_.Fail(absl::StrCat("a pinned hit on block ", block,
                                   " has wrong bytes"));
        }
      }
      if (reads_left_-- == 0 || winding_down_) {
        at_ = 0;
        phase_ = Phase::kUnpin;
      }
      return;
    }
    case Phase::kUnpin:
      hits_[at_].valid = false;
      pin(protocol::UnpackResidence(hits_[at_].word).block).fetch_sub(1);
      hits_[at_].pinned = false;
      if (++at_ == hits_.size()) phase_ = Phase::kIdle;
      return;
  }
}

}  // namespace kvferry::sim
