#include "tests/sim/client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvferry::sim {

using protocol::kNoBlock;
using protocol::ReplyRecord;
using protocol::SubmitRecord;

namespace {
// Small, so that the daemon often has to leave runs in the ring. Still above
// kBlocksPerRunMax, below which the core grants nothing.
constexpr uint32_t kReplyRoom = protocol::kBlocksPerRunMax + 24;
}  // namespace

Client::Client(World* world, uint16_t session)
    : world_(*world),
      session_(session),
      file_(
          protocol::SessionClientFileBytes(world->geometry().block_capacity)) {}

core::SessionMemory Client::memory() const {
  return {file_.At<protocol::SessionClientHeader>(0),
          file_.At<protocol::TouchRecord>(protocol::kTouchRingOffset),
          file_.At<protocol::PinCell>(protocol::kPinsOffset)};
}

uint32_t Client::Room() const {
  return kReplyRoom - static_cast<uint32_t>(replies_.size());
}

void Client::Push(const ReplyRecord& record) {
  if (Room() == 0) world_.Fail("a reply was pushed into a full ring");
  replies_.push_back(record);
}

void Client::Pump() {
  if (submissions_.empty()) return;
  const std::vector<SubmitRecord>& run = submissions_.front();
  if (core::NamespaceCore::RepliesMax(run[0]) > Room()) return;
  if (core::NamespaceCore::RunLength(run[0]) != run.size()) {
    world_.Fail("RunLength is not the length of a run");
  }
  const absl::Status status =
      world_.core().Submit(session_, run, world_.now_ms());
  if (!status.ok()) {
    world_.Fail(absl::StrCat("session ", session_,
                             " was refused: ", std::string(status.message())));
  }
  submissions_.pop_front();
}

void Client::Step() {
  if (!dead_) DoStep();
}

// --- Reader ----------------------------------------------------------------

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
  group_ = world_.Random(2);
  hits_.clear();
  for (const BlockKey& key :
       world_.Chain(group_, world_.Random(6), 1 + world_.Random(8))) {
    const protocol::BucketPair pair =
        protocol::BucketsOf(key.lo, key.hi, world_.geometry().bucket_count);
    Hit hit;
    for (uint32_t b : {pair.first, pair.second}) {
      for (uint32_t i = 0; i < protocol::kSlotsPerBucket; ++i) {
        const protocol::Bucket& bucket = world_.buckets()[b];
        if (bucket.key_lo[i] != key.lo || bucket.key_hi[i] != key.hi) continue;
        const uint64_t word = bucket.host[i];
        if (protocol::UnpackResidence(word).state !=
            protocol::ResidenceState::kReady) {
          continue;
        }
        hit = {key, b * protocol::kSlotsPerBucket + i, word, false, false};
      }
    }
    if (hit.word == 0) break;
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
      const protocol::Bucket& bucket =
          world_.buckets()[hit.slot / protocol::kSlotsPerBucket];
      const uint32_t i = hit.slot % protocol::kSlotsPerBucket;
      hit.valid = bucket.host[i] == hit.word &&
                  bucket.key_lo[i] == hit.key.lo &&
                  bucket.key_hi[i] == hit.key.hi;
      const auto residence = protocol::UnpackResidence(hit.word);
      if (hit.valid &&
          world_.cleared().contains({residence.block, residence.generation})) {
        world_.Fail(absl::StrCat("block ", residence.block,
                                 " hits, but was being written when its "
                                 "namespace was cleared"));
      }
      if (++at_ == hits_.size()) {
        Touch();
        reads_left_ = world_.Random(12);
        phase_ = Phase::kRead;
      }
      return;
    }
    case Phase::kRead: {
      const uint32_t slices = world_.geometry().groups[group_].slice_count;
      for (const Hit& hit : hits_) {
        if (!hit.valid) continue;
        const uint32_t block = protocol::UnpackResidence(hit.word).block;
        for (uint32_t s = 0; s < slices; ++s) {
          world_.CountRead();
          if (world_.page(block, s) != World::Content(hit.key, s)) {
            world_.Fail(absl::StrCat("a pinned hit on block ", block, " slice ",
                                     s, " has wrong bytes"));
          }
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
