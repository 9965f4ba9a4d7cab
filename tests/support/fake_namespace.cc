#include "tests/support/fake_namespace.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/check.h"
#include "protocol/limits.h"

namespace kvferry::test {

using protocol::kSlotsPerBucket;
using protocol::ResidenceState;

BlockKey NumberedKey(uint64_t number) {
  uint64_t word = number;
  // splitmix64, twice: well spread and never zero for small numbers.
  auto next = [&word] {
    word += 0x9e3779b97f4a7c15;
    uint64_t z = word;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  const uint64_t lo = next();
  return {lo, next()};
}

FakeNamespace::Buffer FakeNamespace::Allocate(uint64_t bytes) {
  constexpr std::align_val_t kAlignment{4096};
  auto* memory = static_cast<std::byte*>(::operator new(bytes, kAlignment));
  std::memset(memory, 0, bytes);
  return Buffer(memory, [](std::byte* data) {
    ::operator delete (data, std::align_val_t{4096});
  });
}

FakeNamespace::FakeNamespace(const std::vector<GroupOptions>& groups,
                             bool map_segments,
                             const std::vector<PoolOptions>& pools,
                             const sdk::Attachment::Options& options)
    : index_(nullptr, nullptr),
      daemon_(nullptr, nullptr),
      client_(nullptr, nullptr),
      progress_(nullptr, nullptr) {
  uint32_t capacity = 0;
  for (const GroupOptions& group : groups) capacity += group.block_count;
  const uint32_t host_blocks = capacity;
  const uint32_t buckets = protocol::BucketCountFor(host_blocks);
  for (const PoolOptions& pool : pools) capacity += pool.block_count;
  index_ = Allocate(protocol::IndexFileBytes(buckets));
  daemon_ = Allocate(protocol::kSessionDaemonFileBytes);
  client_ = Allocate(protocol::SessionClientFileBytes(capacity));
  progress_ = Allocate(protocol::kProgressFileBytes);

  protocol::IndexHeader* const index = header();
  index->magic = protocol::kIndexMagic;
  index->group_count = static_cast<uint32_t>(groups.size());
  index->block_capacity = capacity;
  index->host_blocks = host_blocks;
  index->gpu_pool_count = static_cast<uint32_t>(pools.size());
  index->bucket_count = buckets;
  uint32_t first_block = 0;
  for (size_t i = 0; i < groups.size(); ++i) {
    protocol::GroupRecord& record = index->groups[i];
    record.block_tokens = groups[i].block_tokens;
    record.slice_count = groups[i].slice_count;
    record.page_bytes = groups[i].page_bytes;
    record.stride_bytes = groups[i].page_bytes * groups[i].slice_count;
    record.first_block = first_block;
    record.block_count = groups[i].block_count;
    record.blocks_per_segment = groups[i].blocks_per_segment;
    record.hit_rule = static_cast<uint32_t>(groups[i].rule);
    record.trailing_blocks = groups[i].trailing_blocks;
    record.layer_count = groups[i].layer_count;
    record.kv_count = groups[i].kv_count;
    record.head_count = groups[i].head_count;
    record.head_bytes = groups[i].head_bytes;
    payload_.push_back(Allocate(record.stride_bytes * record.block_count));
    next_block_.push_back(first_block);
    first_block += record.block_count;
  }
  for (size_t p = 0; p < pools.size(); ++p) {
    protocol::GpuPoolRecord& record = index->gpu_pools[p];
    record.device_uuid[15] = static_cast<uint8_t>(pools[p].device);
    record.group = pools[p].group;
    record.device = pools[p].device;
    record.first_block = first_block;
    record.block_count = pools[p].block_count;
    record.incarnation.store(1, std::memory_order_relaxed);
    next_in_pool_.push_back(first_block);
    first_block += record.block_count;
  }
  generations_.resize(capacity);
  for (uint32_t slot = 0; slot < protocol::kPublicationSlots; ++slot) {
    for (auto& writer : publications()[slot].writers) {
      writer.store(protocol::kNoWriter, std::memory_order_relaxed);
    }
  }
  index->layout_version.store(protocol::kLayoutVersion,
                              std::memory_order_release);

  memory_.index = index;
  memory_.daemon = daemon_header();
  memory_.replies = reinterpret_cast<const protocol::ReplyRecord*>(
      daemon_.get() + protocol::kReplyRingOffset);
  memory_.client =
      reinterpret_cast<protocol::SessionClientHeader*>(client_.get());
  memory_.submissions = reinterpret_cast<protocol::SubmitRecord*>(
      client_.get() + protocol::kSubmitRingOffset);
  memory_.touches = reinterpret_cast<protocol::TouchRecord*>(
      client_.get() + protocol::kTouchRingOffset);
  memory_.pins = reinterpret_cast<protocol::PinCell*>(client_.get() +
                                                      protocol::kPinsOffset);
  memory_.progress =
      reinterpret_cast<protocol::ProgressHeader*>(progress_.get());
  memory_.progress->magic = protocol::kProgressMagic;
  memory_.progress->layout_version.store(protocol::kLayoutVersion,
                                         std::memory_order_release);
  attachment_ = std::make_unique<sdk::Attachment>(memory_, options);
  if (!map_segments) return;
  for (uint32_t g = 0; g < groups.size(); ++g) {
    const uint32_t segments =
        (groups[g].block_count + groups[g].blocks_per_segment - 1) /
        groups[g].blocks_per_segment;
    for (uint32_t s = 0; s < segments; ++s) MapSegment(g, s);
  }
}

void FakeNamespace::MapSegment(uint32_t group, uint32_t segment) {
  const protocol::GroupRecord& record = this->group(group);
  const uint32_t skipped = segment * record.blocks_per_segment;
  const absl::Status added = attachment_->segments().AddMemory(
      group, record.first_block + skipped,
      std::min(record.blocks_per_segment, record.block_count - skipped),
      payload_[group].get() + skipped * record.stride_bytes,
      /*writable=*/true);
  KVFERRY_CHECK(added.ok());
}

std::byte* FakeNamespace::Page(uint32_t group, uint32_t block, uint32_t slice) {
  const protocol::GroupRecord& record = this->group(group);
  return payload_[group].get() +
         (block - record.first_block) * record.stride_bytes +
         slice * record.page_bytes;
}

protocol::PublicationRecord* FakeNamespace::publications() const {
  return reinterpret_cast<protocol::PublicationRecord*>(
      index_.get() + protocol::PublicationsOffset(header()->bucket_count));
}

void FakeNamespace::OpenPublication(uint32_t slot, uint32_t generation,
                                    protocol::WriterRef writer) {
  protocol::PublicationRecord& record = publications()[slot];
  for (auto& there : record.writers) {
    there.store(protocol::PackWriterRef(writer), std::memory_order_relaxed);
  }
  record.phase.store(static_cast<uint32_t>(protocol::PublicationPhase::kOpen),
                     std::memory_order_relaxed);
  record.generation.store(generation, std::memory_order_release);
}

const protocol::ProgressRecord& FakeNamespace::progress(uint32_t record) const {
  return reinterpret_cast<const protocol::ProgressRecord*>(
      progress_.get() + protocol::kProgressRecordsOffset)[record];
}

std::string FakeNamespace::hand_over(uint32_t record) const {
  return {reinterpret_cast<const char*>(
              progress_.get() + protocol::kHandOverOffset +
              uint64_t{record} * protocol::kHandOverBytesMax),
          progress(record).hand_over_bytes.load(std::memory_order_acquire)};
}

protocol::Bucket& FakeNamespace::bucket(uint32_t index) const {
  return reinterpret_cast<protocol::Bucket*>(index_.get() +
                                             protocol::kHeaderBytes)[index];
}

FakeNamespace::Place FakeNamespace::Locate(const BlockKey& key) const {
  const auto pair = protocol::BucketsOf(key.lo, key.hi, header()->bucket_count);
  for (uint32_t index : {pair.first, pair.second}) {
    for (uint32_t slot = 0; slot < kSlotsPerBucket; ++slot) {
      const protocol::Bucket& there = bucket(index);
      if ((there.host[slot].load() != 0 || there.gpu[slot].load() != 0) &&
          there.key_lo[slot].load() == key.lo &&
          there.key_hi[slot].load() == key.hi) {
        return {index, slot, true};
      }
    }
  }
  return {};
}

uint32_t FakeNamespace::Put(const BlockKey& key, uint32_t group,
                            ResidenceState state) {
  const uint32_t block = next_block_[group]++;
  KVFERRY_CHECK(block - this->group(group).first_block <
                this->group(group).block_count);
  PutBlock(key, block, state);
  return block;
}

void FakeNamespace::PutBlock(const BlockKey& key, uint32_t block,
                             ResidenceState state) {
  Enter(key, block, state, /*aux=*/0);
}

void FakeNamespace::PutPending(const BlockKey& key, uint32_t block,
                               protocol::PublicationRef ref) {
  Enter(key, block, ResidenceState::kPending,
        protocol::PackPublicationRef(ref));
}

void FakeNamespace::Enter(const BlockKey& key, uint32_t block,
                          ResidenceState state, uint64_t aux) {
  const Place place = Take(key, aux);
  bucket(place.bucket)
      .host[place.slot]
      .store(protocol::PackResidence({state, block, ++generations_[block]}),
             std::memory_order_release);
}

FakeNamespace::Place FakeNamespace::Take(const BlockKey& key, uint64_t aux) {
  const auto pair = protocol::BucketsOf(key.lo, key.hi, header()->bucket_count);
  uint32_t best = pair.first;
  uint32_t best_slot = kSlotsPerBucket;
  uint32_t best_free = 0;
  for (uint32_t index : {pair.first, pair.second}) {
    uint32_t free = 0;
    uint32_t first_free = kSlotsPerBucket;
    for (uint32_t slot = kSlotsPerBucket; slot-- > 0;) {
      if (bucket(index).host[slot].load() != 0 ||
          bucket(index).gpu[slot].load() != 0) {
        continue;
      }
      first_free = slot;
      ++free;
    }
    if (free <= best_free) continue;
    best = index;
    best_slot = first_free;
    best_free = free;
  }
  KVFERRY_CHECK(best_slot < kSlotsPerBucket);
  protocol::Bucket& target = bucket(best);
  target.key_lo[best_slot].store(key.lo, std::memory_order_relaxed);
  target.key_hi[best_slot].store(key.hi, std::memory_order_relaxed);
  target.aux[best_slot].store(aux, std::memory_order_relaxed);
  return {best, best_slot, true};
}

uint32_t FakeNamespace::PutGpu(const BlockKey& key, uint32_t pool,
                               ResidenceState state,
                               protocol::PublicationRef ref) {
  const uint32_t block = next_in_pool_[pool - 1]++;
  const protocol::GpuPoolRecord& record = header()->gpu_pools[pool - 1];
  KVFERRY_CHECK(block - record.first_block < record.block_count);
  Place place = Locate(key);
  if (!place.found) place = Take(key, protocol::PackPublicationRef(ref));
  bucket(place.bucket)
      .gpu[place.slot]
      .store(protocol::PackResidence({state, block, ++generations_[block]}),
             std::memory_order_release);
  return block;
}

void FakeNamespace::SetGpuState(const BlockKey& key, ResidenceState state) {
  const Place place = Locate(key);
  KVFERRY_CHECK(place.found);
  std::atomic<uint64_t>& word = bucket(place.bucket).gpu[place.slot];
  protocol::Residence residence = protocol::UnpackResidence(word.load());
  residence.state = state;
  word.store(protocol::PackResidence(residence), std::memory_order_release);
}

void FakeNamespace::DropGpu(const BlockKey& key) {
  const Place place = Locate(key);
  KVFERRY_CHECK(place.found);
  bucket(place.bucket).gpu[place.slot].store(0, std::memory_order_release);
}

void FakeNamespace::PutHostCopy(const BlockKey& key, uint32_t block) {
  const Place place = Locate(key);
  KVFERRY_CHECK(place.found);
  bucket(place.bucket)
      .host[place.slot]
      .store(protocol::PackResidence(
                 {ResidenceState::kReady, block, ++generations_[block]}),
             std::memory_order_release);
}

uint64_t FakeNamespace::GpuWordOf(const BlockKey& key) const {
  const Place place = Locate(key);
  return place.found ? bucket(place.bucket).gpu[place.slot].load() : 0;
}

void FakeNamespace::SetIncarnation(uint32_t pool, uint32_t incarnation) {
  header()->gpu_pools[pool - 1].incarnation.store(incarnation,
                                                  std::memory_order_release);
}

void FakeNamespace::OpenGpu(sdk::Attachment* attachment,
                            std::shared_ptr<gpu::Device> device,
                            uint32_t number,
                            const std::vector<uint32_t>& pools) {
  sdk::GpuPools& there = attachment->gpu_pools();
  there.SetDevice(device);
  there.SetNumber(number);
  for (const uint32_t pool : pools) {
    const protocol::GpuPoolRecord& record = header()->gpu_pools[pool - 1];
    auto imported = std::make_shared<sdk::GpuPools::Imported>();
    absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> memory =
        device->AllocatePrivate(record.block_count *
                                group(record.group).stride_bytes);
    KVFERRY_CHECK(memory.ok());
    imported->device = device;
    imported->memory = *std::move(memory);
    imported->incarnation = record.incarnation.load();
    there.Enter(pool, std::move(imported));
  }
}

bool FakeNamespace::SetState(const BlockKey& key, ResidenceState state) {
  const Place place = Locate(key);
  if (!place.found) return false;
  std::atomic<uint64_t>& word = bucket(place.bucket).host[place.slot];
  protocol::Residence residence = protocol::UnpackResidence(word.load());
  residence.state = state;
  word.store(protocol::PackResidence(residence), std::memory_order_release);
  return true;
}

void FakeNamespace::Erase(const BlockKey& key) {
  const Place place = Locate(key);
  if (!place.found) return;
  protocol::Bucket& there = bucket(place.bucket);
  there.host[place.slot].store(0, std::memory_order_release);
  there.gpu[place.slot].store(0, std::memory_order_release);
  there.key_lo[place.slot].store(0, std::memory_order_relaxed);
  there.key_hi[place.slot].store(0, std::memory_order_relaxed);
}

uint64_t FakeNamespace::WordOf(const BlockKey& key) const {
  const Place place = Locate(key);
  return place.found ? bucket(place.bucket).host[place.slot].load() : 0;
}

uint64_t FakeNamespace::pin_sum() const {
  uint64_t sum = 0;
  for (uint32_t block = 0; block < header()->block_capacity; ++block) {
    sum += pins(block);
  }
  return sum;
}

std::vector<protocol::SubmitRecord> FakeNamespace::TakeSubmissions() {
  std::vector<protocol::SubmitRecord> taken;
  uint64_t consumed = daemon_header()->submit_consumed.load();
  const uint64_t tail = submit_tail();
  for (; consumed != tail; ++consumed) {
    taken.push_back(
        memory_.submissions[consumed & (protocol::kRingRecords - 1)]);
  }
  daemon_header()->submit_consumed.store(consumed, std::memory_order_release);
  return taken;
}

void FakeNamespace::Reply(const protocol::ReplyRecord& record) {
  auto* ring = reinterpret_cast<protocol::ReplyRecord*>(
      daemon_.get() + protocol::kReplyRingOffset);
  const uint64_t tail = daemon_header()->reply_tail.load();
  ring[tail & (protocol::kRingRecords - 1)] = record;
  daemon_header()->reply_tail.store(tail + 1, std::memory_order_release);
  daemon_header()->reply_futex.store(static_cast<uint32_t>(tail + 1),
                                     std::memory_order_release);
}

void FakeNamespace::Grant(uint32_t group, const std::vector<uint32_t>& blocks,
                          uint32_t pool) {
  protocol::ReplyRecord record{};
  record.type = static_cast<uint8_t>(protocol::ReplyType::kGrant);
  record.group = static_cast<uint8_t>(group);
  record.pool = static_cast<uint8_t>(pool);
  for (uint32_t block : blocks) {
    record.blocks[record.count++] = block;
    if (record.count == protocol::kBlocksPerReply) {
      Reply(record);
      record.count = 0;
    }
  }
  if (record.count > 0) Reply(record);
}

void FakeNamespace::Answer(uint32_t handle, protocol::PublishAnswer answer,
                           uint32_t first, uint32_t count) {
  protocol::ReplyRecord record{};
  record.type = static_cast<uint8_t>(protocol::ReplyType::kAnswer);
  record.answer = static_cast<uint8_t>(answer);
  record.handle = handle;
  record.first = first;
  record.count = count;
  Reply(record);
}

void FakeNamespace::AnswerBlock(uint32_t handle, protocol::PublishAnswer answer,
                                uint32_t position, uint32_t block) {
  protocol::ReplyRecord record{};
  record.type = static_cast<uint8_t>(protocol::ReplyType::kAnswerBlocks);
  record.answer = static_cast<uint8_t>(answer);
  record.handle = handle;
  record.first = position;
  record.count = 1;
  record.blocks[0] = block;
  Reply(record);
}

void FakeNamespace::Opened(uint32_t handle, uint32_t slot, uint32_t generation,
                           uint32_t record) {
  protocol::ReplyRecord reply{};
  reply.type = static_cast<uint8_t>(protocol::ReplyType::kOpened);
  reply.handle = handle;
  reply.first = slot;
  reply.count = generation;
  reply.blocks[0] = record;
  Reply(reply);
}

}  // namespace kvferry::test
