#ifndef KVFERRY_TESTS_SUPPORT_FAKE_NAMESPACE_H_
#define KVFERRY_TESTS_SUPPORT_FAKE_NAMESPACE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kvferry/key.h"
#include "kvferry/layout.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"
#include "sdk/attachment.h"

namespace kvferry::test {

// A key for each number, spread as hashes are.
BlockKey NumberedKey(uint64_t number);

// The memory of a namespace and of one session in it, in this process, written
// by the test as the daemon would: an index with any content, a reply ring
// with any answer, publication records. Nothing is evicted or answered unless
// the test does it.
//
// Threads  The index: one writer. The rest: as sdk::Attachment.
class FakeNamespace {
 public:
  struct GroupOptions {
    uint32_t block_tokens = 16;
    uint32_t block_count = 64;
    uint32_t blocks_per_segment = 64;
    uint32_t slice_count = 1;
    HitRule rule = HitRule::kAllPrefix;
    uint32_t trailing_blocks = 0;
    uint64_t page_bytes = 64;
    // What a page holds, for copies of an engine's memory; 0: not told.
    uint32_t layer_count = 0;
    uint32_t kv_count = 0;
    uint32_t head_count = 0;
    uint32_t head_bytes = 0;
  };

  // A GPU pool; its number is its place in the vector, from 1 on.
  struct PoolOptions {
    uint32_t group = 0;
    uint32_t device = 0;  // the daemon's number
    uint32_t block_count = 64;
  };

  explicit FakeNamespace(const std::vector<GroupOptions>& groups,
                         bool map_segments = true,
                         const std::vector<PoolOptions>& pools = {},
                         const sdk::Attachment::Options& options = {});

  sdk::Attachment& attachment() { return *attachment_; }
  const sdk::SessionMemory& memory() const { return memory_; }
  const protocol::GroupRecord& group(uint32_t index) const {
    return header()->groups[index];
  }

  // --- index ---

  // Enters a key with the group's next unused block. Returns the block.
  uint32_t Put(
      const BlockKey& key, uint32_t group = 0,
      protocol::ResidenceState state = protocol::ResidenceState::kReady);
  // The same for a block of the caller's choice, in its next generation.
  void PutBlock(
      const BlockKey& key, uint32_t block,
      protocol::ResidenceState state = protocol::ResidenceState::kReady);
  // The same for one that a publication is writing.
  void PutPending(const BlockKey& key, uint32_t block,
                  protocol::PublicationRef ref);
  // Changes the state in which a key stands; false when it is not there.
  bool SetState(const BlockKey& key, protocol::ResidenceState state);
  void Erase(const BlockKey& key);
  void SetLayers(uint32_t group, uint32_t layers) {
    header()->groups[group].layer_count = layers;
  }
  // The slot's word for a key, 0 when it is not there.
  uint64_t WordOf(const BlockKey& key) const;

  // --- GPU residences ---

  // Enters a GPU residence of a key, beside its host residence if it has one,
  // in the pool's next unused block. Returns the block.
  uint32_t PutGpu(
      const BlockKey& key, uint32_t pool,
      protocol::ResidenceState state = protocol::ResidenceState::kReady,
      protocol::PublicationRef ref = {});
  // Changes the state of a key's GPU residence.
  void SetGpuState(const BlockKey& key, protocol::ResidenceState state);
  // Takes a key's GPU residence away; one without another is gone.
  void DropGpu(const BlockKey& key);
  // Gives a key, which stands there by its GPU residence, a host residence.
  void PutHostCopy(const BlockKey& key, uint32_t block);
  uint64_t GpuWordOf(const BlockKey& key) const;
  // Odd: the pool has memory. Pools begin with 1.
  void SetIncarnation(uint32_t pool, uint32_t incarnation);
  // Opens `device` in an attachment, as number `number`, and gives it memory of
  // its own for each of `pools`, in the incarnation that they have.
  void OpenGpu(sdk::Attachment* attachment, std::shared_ptr<gpu::Device> device,
               uint32_t number, const std::vector<uint32_t>& pools);

  uint16_t pins(uint32_t block) const {
    return memory_.pins[block].load(std::memory_order_acquire);
  }
  uint64_t pin_sum() const;

  // Maps a segment into the attachment.
  void MapSegment(uint32_t group, uint32_t segment);
  std::byte* Page(uint32_t group, uint32_t block, uint32_t slice = 0);

  // --- publications ---

  // Free, and without writers, until the test says otherwise.
  protocol::PublicationRecord& publication(uint32_t slot) {
    return publications()[slot];
  }
  // Gives a publication its slot, with one writer of all slices.
  void OpenPublication(uint32_t slot, uint32_t generation,
                       protocol::WriterRef writer);
  // What this session tells readers.
  const protocol::ProgressRecord& progress(uint32_t record) const;
  protocol::Progress progress_word(uint32_t record) const {
    return protocol::UnpackProgress(
        progress(record).word.load(std::memory_order_acquire));
  }
  std::string hand_over(uint32_t record) const;

  // --- rings ---

  // What was submitted since the last call, counted as consumed.
  std::vector<protocol::SubmitRecord> TakeSubmissions();
  // The same without giving the room back.
  uint64_t submit_tail() const {
    return memory_.client->submit_tail.load(std::memory_order_acquire);
  }
  void Reply(const protocol::ReplyRecord& record);
  void Grant(uint32_t group, const std::vector<uint32_t>& blocks,
             uint32_t pool = 0);
  void Answer(uint32_t handle, protocol::PublishAnswer answer, uint32_t first,
              uint32_t count);
  // kYours or kStandby, in a block that the daemon chose.
  void AnswerBlock(uint32_t handle, protocol::PublishAnswer answer,
                   uint32_t position, uint32_t block);
  // Answers an open; generation 0: the publication cannot be followed.
  void Opened(uint32_t handle, uint32_t slot, uint32_t generation,
              uint32_t record);
  void SetRevoked() {
    daemon_header()->revoked.store(1, std::memory_order_release);
  }
  void SetCoarseNow(uint32_t now_ms) {
    header()->coarse_now_ms.store(now_ms, std::memory_order_relaxed);
  }

 private:
  using Buffer = std::unique_ptr<std::byte[], void (*)(std::byte*)>;
  static Buffer Allocate(uint64_t bytes);

  protocol::IndexHeader* header() const {
    return reinterpret_cast<protocol::IndexHeader*>(index_.get());
  }
  protocol::SessionDaemonHeader* daemon_header() const {
    return reinterpret_cast<protocol::SessionDaemonHeader*>(daemon_.get());
  }
  protocol::PublicationRecord* publications() const;
  protocol::Bucket& bucket(uint32_t index) const;
  struct Place {
    uint32_t bucket = 0;
    uint32_t slot = 0;
    bool found = false;
  };
  Place Locate(const BlockKey& key) const;
  // A slot for a new key, with the key in it.
  Place Take(const BlockKey& key, uint64_t aux);
  void Enter(const BlockKey& key, uint32_t block,
             protocol::ResidenceState state, uint64_t aux);

  Buffer index_;
  Buffer daemon_;
  Buffer client_;
  Buffer progress_;
  std::vector<Buffer> payload_;  // one a group
  sdk::SessionMemory memory_;
  std::vector<uint32_t> next_block_;    // by group
  std::vector<uint32_t> next_in_pool_;  // by pool - 1
  std::vector<uint32_t> generations_;   // by block
  std::unique_ptr<sdk::Attachment> attachment_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_FAKE_NAMESPACE_H_
