#include "tests/support/raw_gpu_session.h"

#include <atomic>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tests/support/becomes.h"

namespace kvferry::test {

namespace wire = protocol::wire;
using protocol::Residence;
using protocol::ResidenceState;

absl::StatusOr<std::unique_ptr<RawGpuSession>> RawGpuSession::Attach(
    const std::string& socket_path, const NamespaceSpec& spec,
    wire::Access access) {
  auto result = std::make_unique<RawGpuSession>();
  KVFERRY_ASSIGN_OR_RETURN(result->session_,
                           RawSession::Attach(socket_path, spec, access));
  KVFERRY_ASSIGN_OR_RETURN(
      result->index_, Mapping::Map(result->session_.fds[0].get(),
                                   protocol::IndexFileBytes(
                                       result->session_.attached.bucket_count),
                                   Mapping::Access::kReadOnly));
  return result;
}

absl::StatusOr<uint32_t> RawGpuSession::OpenGpu(const protocol::GpuUuid& uuid) {
  wire::OpenGpuT open;
  open.device_uuid.assign(uuid.begin(), uuid.end());
  if (!session_.connection.Send(std::move(open))) {
    return absl::UnavailableError("the daemon closed the connection");
  }
  std::optional<uint32_t> device;
  std::map<uint32_t, uint32_t> said;
  for (const auto& [number, pool] : pools_) said[number] = pool.times_said;
  uint32_t pools_to_come = 0;
  while (!device.has_value() || pools_to_come > 0) {
    std::vector<UniqueFd> fds;
    KVFERRY_ASSIGN_OR_RETURN(wire::MessageT message,
                             session_.connection.Receive(&fds));
    if (const wire::ErrorT* error = message.body.AsError()) {
      return absl::Status(static_cast<absl::StatusCode>(error->code),
                          error->message);
    }
    if (const wire::GpuPoolsT* pools = message.body.AsGpuPools()) {
      device = pools->device;
      pools_to_come = pools->pool_count;
      continue;
    }
    const bool of_pool = message.body.AsGpuPoolChanged() != nullptr;
    KVFERRY_RETURN_IF_ERROR(Take(std::move(message), std::move(fds)));
    if (of_pool && device.has_value()) --pools_to_come;
  }
  return *device;
}

bool RawGpuSession::ReceiveUntil(const std::function<bool()>& done,
                                 absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!done()) {
    std::vector<UniqueFd> fds;
    absl::StatusOr<wire::MessageT> message =
        session_.connection.Receive(&fds, deadline - absl::Now());
    if (!message.ok() || !Take(*std::move(message), std::move(fds)).ok()) {
      return false;
    }
  }
  return true;
}

bool RawGpuSession::WaitForSegments() {
  return ReceiveUntil([&] {
    uint32_t blocks = 0;
    for (const Segment& segment : segments_) blocks += segment.block_count;
    return blocks == index().host_blocks;
  });
}

bool RawGpuSession::WaitForPool(uint32_t pool, uint32_t incarnation) {
  return ReceiveUntil([&] {
    const auto found = pools_.find(pool);
    return found != pools_.end() && found->second.there() &&
           found->second.changed.incarnation >= incarnation;
  });
}

absl::Status RawGpuSession::Take(wire::MessageT message,
                                 std::vector<UniqueFd> fds) {
  if (const wire::SegmentAddedT* added = message.body.AsSegmentAdded()) {
    if (fds.size() != 1) return absl::InternalError("a segment without file");
    Segment segment;
    segment.first_block = added->first_block;
    segment.block_count = added->block_count;
    segment.stride_bytes = index().groups[added->group].stride_bytes;
    KVFERRY_ASSIGN_OR_RETURN(
        segment.mapping,
        Mapping::Map(fds[0].get(), added->bytes,
                     added->writable ? Mapping::Access::kReadWrite
                                     : Mapping::Access::kReadOnly));
    segments_.push_back(std::move(segment));
  }
  if (const wire::GpuPoolChangedT* changed = message.body.AsGpuPoolChanged()) {
    Pool& pool = pools_[changed->pool];
    pool.changed = *changed;
    pool.fd = fds.empty() ? UniqueFd() : std::move(fds[0]);
    ++pool.times_said;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint32_t>> RawGpuSession::Begin(
    uint32_t handle, uint32_t pool, std::span<const BlockKey> keys) {
  session_.PostOpen(handle, ++last_publication_);
  session_.PostBegin(handle, 0, keys, static_cast<uint8_t>(pool));
  session_.RingDoorbell();
  KVFERRY_RETURN_IF_ERROR(
      session_.TakeReply(protocol::ReplyType::kOpened).status());
  KVFERRY_ASSIGN_OR_RETURN(
      const protocol::ReplyRecord reply,
      session_.TakeReply(protocol::ReplyType::kAnswerBlocks));
  if (reply.count != keys.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(reply.count, " of ", keys.size(), " blocks"));
  }
  return std::vector<uint32_t>(reply.blocks, reply.blocks + reply.count);
}

void RawGpuSession::Commit(uint32_t handle, uint32_t count) {
  session_.PostRange(protocol::SubmitType::kCommit, handle, 0, count);
  session_.PostClose(handle);
  session_.RingDoorbell();
}

void RawGpuSession::Touch(const BlockKey& key) {
  protocol::SessionClientHeader& header = session_.client_header();
  const uint64_t tail = header.touch_tail.load();
  protocol::TouchRecord& touch = session_.client.At<protocol::TouchRecord>(
      protocol::kTouchRingOffset)[tail % protocol::kTouchRecords];
  touch.deepest_hit.store(protocol::PackResidence(Host(key)));
  touch.missed_key_lo.store(0);
  touch.missed_key_hi.store(0);
  touch.hit_blocks.store(1);
  touch.time_ms.store(index().coarse_now_ms.load());
  header.touch_tail.store(tail + 1);
}

const protocol::Bucket* RawGpuSession::FindSlot(const BlockKey& key,
                                                uint32_t* slot) const {
  const auto [first, second] =
      protocol::BucketsOf(key.lo, key.hi, index().bucket_count);
  for (const uint32_t number : {first, second}) {
    const auto* bucket =
        index_.At<protocol::Bucket>(protocol::kHeaderBytes) + number;
    for (*slot = 0; *slot < protocol::kSlotsPerBucket; ++*slot) {
      if ((bucket->host[*slot].load() | bucket->gpu[*slot].load()) != 0 &&
          bucket->key_lo[*slot].load() == key.lo &&
          bucket->key_hi[*slot].load() == key.hi) {
        return bucket;
      }
    }
  }
  return nullptr;
}

Residence RawGpuSession::Host(const BlockKey& key) const {
  uint32_t slot = 0;
  const protocol::Bucket* bucket = FindSlot(key, &slot);
  return bucket == nullptr ? Residence()
                           : protocol::UnpackResidence(bucket->host[slot]);
}

Residence RawGpuSession::Gpu(const BlockKey& key) const {
  uint32_t slot = 0;
  const protocol::Bucket* bucket = FindSlot(key, &slot);
  return bucket == nullptr ? Residence()
                           : protocol::UnpackResidence(bucket->gpu[slot]);
}

bool RawGpuSession::WaitForHost(const BlockKey& key) {
  return Becomes([&] { return Host(key).state == ResidenceState::kReady; });
}

bool RawGpuSession::WaitForGpu(const BlockKey& key) {
  return Becomes([&] { return Gpu(key).state == ResidenceState::kReady; });
}

bool RawGpuSession::WaitUntilGone(const BlockKey& key) {
  return Becomes([&] {
    return Host(key).state == ResidenceState::kFree &&
           Gpu(key).state == ResidenceState::kFree;
  });
}

std::byte* RawGpuSession::HostBytes(uint32_t block) {
  for (const Segment& segment : segments_) {
    if (block - segment.first_block < segment.block_count) {
      return segment.mapping.data() +
             (block - segment.first_block) * segment.stride_bytes;
    }
  }
  return nullptr;
}

uint64_t RawGpuSession::PoolOffset(uint32_t block) const {
  for (uint32_t p = 0; p < index().gpu_pool_count; ++p) {
    const protocol::GpuPoolRecord& pool = index().gpu_pools[p];
    if (block - pool.first_block < pool.block_count) {
      return (block - pool.first_block) *
             index().groups[pool.group].stride_bytes;
    }
  }
  return 0;
}

std::vector<BlockKey> FreshKeys(uint32_t count) {
  static std::atomic<uint64_t> last_key{0};
  std::vector<BlockKey> keys;
  for (uint32_t i = 0; i < count; ++i) {
    const uint64_t n = ++last_key;
    keys.push_back({n * 0x9e37'79b9'7f4a'7c15, n * 0xc2b2'ae3d'27d4'eb4f});
  }
  return keys;
}

}  // namespace kvferry::test
