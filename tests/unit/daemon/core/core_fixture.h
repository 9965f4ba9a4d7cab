#ifndef KVFERRY_TESTS_UNIT_DAEMON_CORE_CORE_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_DAEMON_CORE_CORE_FIXTURE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/core/namespace_core.h"
#include "gmock/gmock.h"
#include "protocol/geometry.h"
#include "tests/sim/memory.h"
#include "tests/support/status_matchers.h"

namespace kvferry::core {

inline BlockKey Key(uint64_t n) {
  // Spread over the index, as hashes are.
  return {n * 0x9e3779b97f4a7c15 + 1, n * 0xbf58476d1ce4e5b9 + 1};
}

// A session of a test: its files and its reply ring, and helpers that build the
// records a client would submit and keep the progress records it would keep.
class TestSession : public ReplySink {
 public:
  TestSession(NamespaceCore* core, uint16_t number, uint32_t block_capacity,
              bool may_publish = true)
      : core_(core),
        number_(number),
        file_(protocol::SessionClientFileBytes(block_capacity)),
        progress_(protocol::kProgressFileBytes) {
    EXPECT_THAT(core->AddSession(number, may_publish, memory(), this, 0),
                test::IsOk());
  }

  SessionMemory memory() const {
    return {file_.At<protocol::SessionClientHeader>(0),
            file_.At<protocol::TouchRecord>(protocol::kTouchRingOffset),
            file_.At<protocol::PinCell>(protocol::kPinsOffset),
            progress_.At<protocol::ProgressHeader>(0)};
  }
  uint32_t Room() const override {
    return protocol::kRingRecords - static_cast<uint32_t>(replies.size());
  }
  void Push(const protocol::ReplyRecord& record) override {
    replies.push_back(record);
    if (record.type == static_cast<uint8_t>(protocol::ReplyType::kGrant)) {
      granted.insert(granted.end(), record.blocks,
                     record.blocks + record.count);
    }
  }

  void Pin(uint32_t block) { cell(block).fetch_add(1); }
  void Unpin(uint32_t block) { cell(block).fetch_sub(1); }
  void Touch(uint64_t residence) {
    auto* header = file_.At<protocol::SessionClientHeader>(0);
    const uint64_t tail = header->touch_tail;
    file_
        .At<protocol::TouchRecord>(
            protocol::kTouchRingOffset)[tail % protocol::kTouchRecords]
        .deepest_hit = residence;
    header->touch_tail = tail + 1;
  }

  // `stall_ms` 0: the default.
  absl::Status Open(uint32_t handle, uint64_t publication,
                    uint64_t slice_set = 1, uint32_t flags = 0,
                    uint32_t stall_ms = 0) {
    protocol::SubmitRecord record = Record(protocol::SubmitType::kOpen, handle);
    record.open = {1, publication, slice_set, stall_ms, flags};
    return Submit({record});
  }
  absl::Status OpenStandby(uint32_t handle, uint64_t publication,
                           uint64_t slice_set = 1, uint32_t stall_ms = 0) {
    return Open(handle, publication, slice_set, protocol::kOpenStandby,
                stall_ms);
  }
  // What the daemon answered to the open of `handle`, the last of them.
  protocol::ReplyRecord Opened(uint32_t handle) const {
    for (auto reply = replies.rbegin(); reply != replies.rend(); ++reply) {
      if (reply->type == static_cast<uint8_t>(protocol::ReplyType::kOpened) &&
          reply->handle == handle) {
        return *reply;
      }
    }
    ADD_FAILURE() << "handle " << handle << " was not opened";
    return {};
  }
  uint32_t slot(uint32_t handle) const { return Opened(handle).first; }
  uint32_t generation(uint32_t handle) const { return Opened(handle).count; }

  protocol::ProgressRecord& progress(uint32_t record) {
    return progress_.At<protocol::ProgressRecord>(
        protocol::kProgressRecordsOffset)[record];
  }
  // Its word for the handle: so many leading positions are done with.
  void Tell(uint32_t handle, uint32_t positions) {
    progress(Opened(handle).blocks[0])
        .word.store(protocol::PackProgress({generation(handle), positions, 0}));
  }
  void SetHandOver(uint32_t handle, const std::string& bytes) {
    const uint32_t record = Opened(handle).blocks[0];
    bytes.copy(
        progress_.At<char>(protocol::kHandOverOffset +
                           uint64_t{record} * protocol::kHandOverBytesMax),
        bytes.size());
    progress(record).hand_over_bytes.store(static_cast<uint32_t>(bytes.size()));
  }

  // Begins keys after `parent`; blocks may be shorter (then kNoBlock).
  absl::Status Begin(uint32_t handle, uint32_t first,
                     const std::vector<BlockKey>& keys,
                     const std::vector<uint32_t>& blocks = {},
                     BlockKey parent = {}, uint8_t group = 0,
                     uint32_t tail_tokens = 0, uint8_t pool = 0) {
    std::vector<protocol::SubmitRecord> run = {
        Record(protocol::SubmitType::kBegin, handle)};
    run[0].group = group;
    run[0].pool = pool;
    run[0].begin = {first, static_cast<uint32_t>(keys.size()), parent.lo,
                    parent.hi};
    for (size_t i = 0; i < keys.size(); ++i) {
      run.push_back(Record(protocol::SubmitType::kBeginBlock, handle));
      run.back().begin_block = {
          keys[i].lo, keys[i].hi,
          i < blocks.size() ? blocks[i] : protocol::kNoBlock,
          i + 1 == keys.size() ? tail_tokens : 0};
    }
    return Submit(run);
  }
  absl::Status Range(protocol::SubmitType type, uint32_t handle, uint32_t first,
                     uint32_t count) {
    protocol::SubmitRecord record = Record(type, handle);
    record.range = {first, count};
    return Submit({record});
  }
  absl::Status Commit(uint32_t handle, uint32_t first, uint32_t count) {
    return Range(protocol::SubmitType::kCommit, handle, first, count);
  }
  absl::Status Abort(uint32_t handle, uint32_t first, uint32_t count) {
    return Range(protocol::SubmitType::kAbort, handle, first, count);
  }
  absl::Status Close(uint32_t handle) {
    return Submit({Record(protocol::SubmitType::kClose, handle)});
  }
  absl::Status Return(const std::vector<uint32_t>& blocks, uint8_t pool = 0) {
    protocol::SubmitRecord record = Record(protocol::SubmitType::kReturn, 0);
    record.pool = pool;
    record.give_back.count = static_cast<uint32_t>(blocks.size());
    for (size_t i = 0; i < blocks.size() && i < 12; ++i) {
      record.give_back.blocks[i] = blocks[i];
    }
    return Submit({record});
  }
  absl::Status Submit(const std::vector<protocol::SubmitRecord>& run) {
    return core_->Submit(number_, run, now_ms);
  }
  static protocol::SubmitRecord Record(protocol::SubmitType type,
                                       uint32_t handle) {
    protocol::SubmitRecord record{};
    record.type = static_cast<uint8_t>(type);
    record.handle = handle;
    return record;
  }

  // The answers so far to positions, in order of arrival; grants left out.
  std::vector<protocol::PublishAnswer> Answers() const {
    std::vector<protocol::PublishAnswer> answers;
    for (const auto& reply : replies) {
      if (reply.type != static_cast<uint8_t>(protocol::ReplyType::kAnswer) &&
          reply.type !=
              static_cast<uint8_t>(protocol::ReplyType::kAnswerBlocks)) {
        continue;
      }
      answers.insert(answers.end(), reply.count,
                     static_cast<protocol::PublishAnswer>(reply.answer));
    }
    return answers;
  }
  // Blocks the daemon chose, in order.
  std::vector<uint32_t> AnsweredBlocks() const {
    std::vector<uint32_t> blocks;
    for (const auto& reply : replies) {
      if (reply.type ==
          static_cast<uint8_t>(protocol::ReplyType::kAnswerBlocks)) {
        blocks.insert(blocks.end(), reply.blocks, reply.blocks + reply.count);
      }
    }
    return blocks;
  }

  uint16_t number() const { return number_; }

  std::vector<protocol::ReplyRecord> replies;
  std::vector<uint32_t> granted;
  uint64_t now_ms = 0;

 private:
  protocol::PinCell& cell(uint32_t block) {
    return file_.At<protocol::PinCell>(protocol::kPinsOffset)[block];
  }

  NamespaceCore* const core_;
  const uint16_t number_;
  sim::FakeFile file_;
  sim::FakeFile progress_;
};

// A namespace of one group with `blocks` blocks of `slices` slices, populated.
class CoreFixture : public testing::Test {
 protected:
  void Make(uint32_t blocks, uint32_t slices = 1) { MakeWith(blocks, slices); }
  // With GPU pools, as their devices give bytes; all of them are down.
  void MakeWith(uint32_t blocks, uint32_t slices = 1,
                const std::vector<protocol::GpuQuota>& quotas = {},
                const GpuPolicy& policy = {}) {
    NamespaceSpec spec;
    spec.name = "test";
    spec.groups = {OpaqueGroup(16, 4096, slices)};
    MakeSpec(spec, blocks, quotas, policy);
  }
  // `blocks` of each group.
  void MakeSpec(const NamespaceSpec& spec, uint32_t blocks,
                const std::vector<protocol::GpuQuota>& quotas,
                const GpuPolicy& policy) {
    uint64_t bytes = 0;
    for (const GroupSpec& group : spec.groups) {
      bytes += blocks * group.block_bytes();
    }
    auto geometry = protocol::PlanGeometry(spec, bytes);
    ASSERT_THAT(geometry, test::IsOk());
    geometry_ = *geometry;
    ASSERT_THAT(protocol::AddGpuPools(quotas, &geometry_), test::IsOk());
    index_.emplace(protocol::IndexFileBytes(geometry_.bucket_count));
    state_.emplace(protocol::StateFileBytes(geometry_.block_capacity));
    NamespaceConfig config;
    config.epoch = 5;
    config.geometry = geometry_;
    config.gpu = policy;
    core_ = std::make_unique<NamespaceCore>(
        config,
        NamespaceMemory{index_->At<protocol::IndexHeader>(0),
                        state_->At<protocol::StateHeader>(0)},
        std::array<std::byte, 32>{}, NamespaceSalt{});
    for (const auto& plan : protocol::PlanSegments(geometry_)) {
      core_->AddSegment(plan);
    }
  }
  std::unique_ptr<TestSession> Session(uint16_t number,
                                       bool may_publish = true) {
    return std::make_unique<TestSession>(core_.get(), number,
                                         geometry_.block_capacity, may_publish);
  }
  // Publishes a chain of keys in one go and returns their blocks.
  std::vector<uint32_t> Publish(TestSession& session, uint32_t handle,
                                const std::vector<BlockKey>& keys,
                                BlockKey parent = {}) {
    const size_t before = session.AnsweredBlocks().size();
    EXPECT_THAT(session.Open(handle, 1000 + handle), test::IsOk());
    // One by one: a session may write half of the group at once, no more.
    for (uint32_t i = 0; i < keys.size(); ++i) {
      EXPECT_THAT(session.Begin(handle, i, {keys[i]}, {}, parent),
                  test::IsOk());
      EXPECT_THAT(session.Commit(handle, i, 1), test::IsOk());
      parent = keys[i];
    }
    EXPECT_THAT(session.Close(handle), test::IsOk());
    std::vector<uint32_t> blocks = session.AnsweredBlocks();
    blocks.erase(blocks.begin(),
                 blocks.begin() + static_cast<std::ptrdiff_t>(before));
    return blocks;
  }
  // The residence that a reader would find for `key`.
  protocol::Residence Find(const BlockKey& key) const {
    const auto* buckets = index_->At<protocol::Bucket>(protocol::kHeaderBytes);
    const std::optional<Place> place = PlaceOf(key);
    if (!place.has_value()) return {};
    return protocol::UnpackResidence(buckets[place->bucket].host[place->slot]);
  }
  protocol::Residence FindGpu(const BlockKey& key) const {
    const auto* buckets = index_->At<protocol::Bucket>(protocol::kHeaderBytes);
    const std::optional<Place> place = PlaceOf(key);
    if (!place.has_value()) return {};
    return protocol::UnpackResidence(buckets[place->bucket].gpu[place->slot]);
  }
  // The publication that its slot names.
  protocol::PublicationRef Ref(const BlockKey& key) const {
    const auto* buckets = index_->At<protocol::Bucket>(protocol::kHeaderBytes);
    const std::optional<Place> place = PlaceOf(key);
    if (!place.has_value()) return {};
    return protocol::UnpackPublicationRef(
        buckets[place->bucket].aux[place->slot]);
  }
  const protocol::PublicationRecord& publication(uint32_t slot) const {
    return index_->At<protocol::PublicationRecord>(
        protocol::PublicationsOffset(geometry_.bucket_count))[slot];
  }
  bool IsOpen(uint32_t slot) const {
    return publication(slot).phase ==
           static_cast<uint32_t>(protocol::PublicationPhase::kOpen);
  }
  const protocol::BlockStateRecord& state(uint32_t block) const {
    return state_->At<protocol::BlockStateRecord>(
        protocol::kHeaderBytes)[block];
  }
  protocol::BlockState StateOf(uint32_t block) const {
    return protocol::UnpackBlockState(state(block).word).state;
  }
  bool Ready(const BlockKey& key) const {
    return Find(key).state == protocol::ResidenceState::kReady;
  }
  void TearDown() override {
    if (core_ != nullptr) {
      EXPECT_THAT(core_->CheckInvariants(), test::IsOk());
    }
  }

  // A ticket request for `keys`, for tests to add to.
  static LeaseRequest Request(const std::vector<BlockKey>& keys,
                              uint32_t consumers = 1,
                              uint64_t deadline_ms = 1000) {
    LeaseRequest request;
    request.keys = keys;
    request.consumers = consumers;
    request.deadline_ms = deadline_ms;
    return request;
  }

  protocol::Geometry geometry_;
  std::optional<sim::FakeFile> index_;
  std::optional<sim::FakeFile> state_;
  std::unique_ptr<NamespaceCore> core_;

 private:
  struct Place {
    uint32_t bucket;
    uint32_t slot;
  };
  std::optional<Place> PlaceOf(const BlockKey& key) const {
    const auto* buckets = index_->At<protocol::Bucket>(protocol::kHeaderBytes);
    const auto pair =
        protocol::BucketsOf(key.lo, key.hi, geometry_.bucket_count);
    for (uint32_t b : {pair.first, pair.second}) {
      for (uint32_t i = 0; i < protocol::kSlotsPerBucket; ++i) {
        if ((buckets[b].host[i] != 0 || buckets[b].gpu[i] != 0) &&
            buckets[b].key_lo[i] == key.lo && buckets[b].key_hi[i] == key.hi) {
          return Place{b, i};
        }
      }
    }
    return std::nullopt;
  }
};

}  // namespace kvferry::core

#endif  // KVFERRY_TESTS_UNIT_DAEMON_CORE_CORE_FIXTURE_H_
