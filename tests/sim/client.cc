#include "tests/sim/client.h"

#include "absl/strings/str_cat.h"

namespace kvferry::sim {

using protocol::ReplyRecord;
using protocol::SubmitRecord;

namespace {
// Small, so that the daemon often has to leave runs in the ring. Still above
// kBlocksPerRunMax, below which the core grants nothing.
constexpr uint32_t kReplyRoom = protocol::kBlocksPerRunMax + 24;
// Progress records that say something of a publication long gone before their
// session uses them for the first time.
constexpr uint32_t kStaleRecords = 8;
}  // namespace

Client::Client(World* world, uint16_t session)
    : world_(*world),
      session_(session),
      file_(protocol::SessionClientFileBytes(world->geometry().block_capacity)),
      progress_(std::make_shared<FakeFile>(protocol::kProgressFileBytes)) {
  for (uint32_t i = 0; i < kStaleRecords; ++i) {
    const uint32_t generation = world_.EndedGeneration();
    if (generation == 0) continue;
    ProgressAt(*progress_, i)
        .word.store(protocol::PackProgress(
            {generation, protocol::kBlocksPerPublicationMax, 1}));
    ProgressAt(*progress_, i).hand_over_bytes.store(8);
    ProgressAt(*progress_, i).given_up.store(generation);
  }
}

core::SessionMemory Client::memory() const {
  return {file_.At<protocol::SessionClientHeader>(0),
          file_.At<protocol::TouchRecord>(protocol::kTouchRingOffset),
          file_.At<protocol::PinCell>(protocol::kPinsOffset),
          progress_->At<protocol::ProgressHeader>(0)};
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

uint32_t Client::Imported(uint32_t block) const {
  const uint32_t pool = world_.PoolOf(block);
  if (pool == 0) return 1;
  return pool < imported_.size() ? imported_[pool] : 0;
}

void Client::Step() {
  if (dead_) return;
  if (device_.has_value() && world_.Chance(8)) {
    const auto& pools = world_.geometry().gpu_pools;
    imported_.resize(1 + pools.size());
    for (uint32_t pool = 1; pool <= pools.size(); ++pool) {
      const uint32_t incarnation = world_.incarnation(pool);
      const bool there = pools[pool - 1].device == *device_ && incarnation % 2;
      imported_[pool] = there ? incarnation : 0;
    }
    return;
  }
  DoStep();
}

}  // namespace kvferry::sim
