#ifndef KVFERRY_SDK_STREAM_STATE_H_
#define KVFERRY_SDK_STREAM_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "kvferry/stream.h"
#include "sdk/attachment.h"
#include "sdk/stream_publication.h"
#include "sdk/stream_waiter.h"
#include "sdk/stream_watcher.h"

namespace kvferry::sdk {

// What a PrefixStream is: pinned blocks in key order, split by four counts.
//
//   | firm: were ready once | ok: whole, not committed | pinned | to come |
//   0                       firm_                      ok_      blocks_ keys_
//
// INV-STREAM-2  A block is among the ok ones only after it was pinned, then its
//               writers' progress was read, then its slot was found unchanged
//               (or it was found ready under its pin). One below firm_ needs no
//               further look: nothing rewrites a ready block that is pinned
//               (INV-PIN-1).
//   Made by    Extend, Advance
//   Kept by    Verify, ConfirmRange: an ok block that is not firm and has left
//              its slot ends the stream before it.
//   Tested     tests/unit/sdk/client/stream_state_test.cc, tests/integration
//
// A look goes: words that waits compare with, ok blocks, new keys, progress.
// Everything is read after the words, so what comes later changes a word.
//
// Life cycle  1. Start   2. Look, waits, pulls   3. Release (the destructor)
// Threads     one at a time; the watcher's thread touches only what it was
//             given by Arm
class StreamState {
 public:
  StreamState() = default;
  ~StreamState() { Release(); }
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  // Pins what is there and takes the first look.
  // Errors  as Client::Match; nothing is pinned then
  absl::Status Start(std::shared_ptr<Attachment> attachment,
                     std::shared_ptr<StreamWatcher> watcher,
                     std::span<const BlockKey> keys,
                     const StreamOptions& options);
  void Release();

  // --- as of the last look (see PrefixStream) ---
  uint32_t ok_blocks() const { return ok_; }
  uint64_t ok_tokens() const;
  uint32_t layered_end() const { return layered_end_; }
  uint32_t ok_layers() const { return layers_; }
  uint32_t block_count() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t key_count() const { return static_cast<uint32_t>(keys_.size()); }
  bool empty() const { return attachment_ == nullptr; }
  bool forked() const { return !empty() && attachment_->forked(); }
  bool done() const { return !status_.ok() || ok_ == keys_.size(); }
  absl::Status status() const { return status_; }
  std::span<const std::byte> page(uint32_t block, uint32_t slice) const;

  // --- looking and waiting ---
  bool Poll();
  absl::Status WaitChunk(uint32_t blocks, absl::Time deadline);
  absl::Status WaitLayer(uint32_t blocks, uint32_t layers, absl::Time deadline);
  absl::Status WaitCommitted(absl::Time deadline);
  absl::Status WaitChange(absl::Time deadline);
  absl::StatusOr<int> event_fd();
  uint32_t Confirm(uint32_t blocks);

  // --- copying (stream_pull.cc) ---
  bool PullSome(const PrefixStream::PullOptions& options,
                const PrefixStream::CopyOut& copy);
  absl::Status PullTo(const PrefixStream::PullOptions& options,
                      const PrefixStream::CopyOut& copy, absl::Time deadline);
  absl::Status PullTo(const PrefixStream::PullOptions& options,
                      const PagedMemory& memory,
                      std::span<const uint64_t> engine_blocks,
                      absl::Time deadline);  // paged_transfers.cc
  uint32_t copied_blocks() const { return copied_; }
  uint32_t copied_layers() const {
    return copied_layers_end_ > copied_ ? copied_layers_ : 0;
  }

  absl::StatusOr<std::string> hand_over();

  // --- for copies by a device (sdk/gpu) ---
  const std::shared_ptr<Attachment>& attachment() const { return attachment_; }
  const StreamOptions& options() const { return options_; }
  // REQUIRES  i < block_count()
  uint32_t block_number(uint32_t i) const { return blocks_[i].number(); }
  // Which memory of a pool the stream's blocks are in; 0: none is in the pool.
  uint32_t IncarnationOf(uint32_t pool) const;

 private:
  struct Block {
    uint64_t place = 0;  // its residence without the state
    uint64_t slot = 0;
    uint64_t aux = 0;  // PublicationRef
    bool firm = false;

    uint32_t number() const { return protocol::UnpackResidence(place).block; }
    protocol::PublicationRef ref() const {
      return protocol::UnpackPublicationRef(aux);
    }
  };
  // What a block's slot says of it now.
  enum class Slot { kReady, kPending, kGone };

  absl::Status CheckArguments(const Attachment& attachment,
                              std::span<const BlockKey> keys,
                              const StreamOptions& options) const;

  // One look. Returns whether anything changed.
  bool Look();
  // After ReadPinned has found it: only its residence is read.
  Slot Read(uint32_t block) const;
  // The first time after it was pinned, with its key and aux word: a block that
  // is retiring then may have been decided upon before.
  Slot ReadPinned(uint32_t block) const;
  // Takes the ok blocks that the daemon has committed since for firm, and ends
  // the stream before one that is gone.
  void Verify();
  // Pins keys that have come to the index. False when it lost a race and has to
  // look again before it can say that a key is not there.
  bool Extend();
  // The residence of a key that may be the next block; none: it is not there,
  // or elsewhere_ says where it is.
  InFlightHit FindResidence(const BlockKey& key, const UsablePools& usable);
  // Pins what `hit` found as the next block.
  bool Pin(const InFlightHit& hit);
  void FollowGrowth(protocol::PublicationRef ref);
  // Moves ok_ on.
  void Advance();
  void SetLayers();
  void SetLayered(uint32_t end, uint32_t layers);
  void CheckLost();
  void CheckRevoked();
  // Ends the stream before the first block whose memory went with its worker.
  void CheckPools();
  void Touch(uint32_t blocks, const BlockKey& missed);

  void Fail(absl::Status status);
  // The stream ends before `block`.
  void FailAt(uint32_t block);
  absl::Status Gone(uint32_t block) const;
  absl::Status EndOfKeys() const;
  // Blocks below it are in host memory.
  absl::Status InGpuError() const;
  void CaptureHandOver();

  // Of [first, end), up to where blocks are still what they were; what is not
  // ends the stream.
  uint32_t ConfirmRange(uint32_t first, uint32_t end);

  template <typename Done>
  absl::Status WaitUntil(const Done& done, absl::Time deadline);
  absl::Status CheckBlocks(uint32_t blocks) const;
  void CollectWords();
  // How long a wait may be, though no word changes.
  absl::Duration Step();
  // Waits until a word changed or its time is over.
  absl::Status Wait(absl::Time deadline);
  // Has event_fd() report the next change. Looks once more, and returns what
  // Look does.
  bool Arm();

  // stream_pull.cc
  // Slices to copy; the options' are those of the group.
  absl::Status CheckSlices(const PrefixStream::PullOptions& options,
                           uint32_t* first, uint32_t* count) const;
  absl::Status TakeSlices(const PrefixStream::PullOptions& options);
  // Copies what the last look has shown, a batch of blocks at most.
  bool CopyNew(bool by_layer, const PrefixStream::CopyOut& copy);
  bool CopyNewLayers(const PrefixStream::CopyOut& copy);
  // Layers [first, end) of a block's slices.
  void CopyLayers(const PrefixStream::CopyOut& copy, uint32_t block,
                  uint32_t first, uint32_t end) const;

  const protocol::GroupRecord& group() const {
    return attachment_->segments().group(options_.group);
  }
  uint32_t layer_count() const {
    return group().layer_count == 0 ? 1 : group().layer_count;
  }

  std::shared_ptr<Attachment> attachment_;  // null: empty
  StreamOptions options_;
  std::vector<BlockKey> keys_;
  std::vector<Block> blocks_;  // pinned; room for every key
  // The GPU pools that some of them are in, and which memories those were.
  struct PoolUse {
    uint32_t pool = 0;
    uint32_t incarnation = 0;
  };
  std::vector<PoolUse> pools_;
  uint32_t first_in_gpu_ = ~uint32_t{0};  // of blocks_
  uint64_t content_epoch_ = 0;

  uint32_t firm_ = 0;
  uint32_t ok_ = 0;
  uint32_t layered_end_ = 0;
  uint32_t layers_ = 0;
  // The chunk that layered_end_ was found in.
  uint32_t layered_generation_ = 0;
  uint32_t layered_chunk_end_ = 0;
  uint32_t touched_ = 0;  // blocks that the daemon was told of as used
  absl::Status status_;
  // Why no further key is looked for; OK while they are.
  absl::Status no_more_keys_;

  // Of the first block that is not ok, and of the keys to come.
  StreamPublication head_;
  StreamPublication growth_;
  // The record of the first ok block that is not firm, for WaitCommitted.
  const std::atomic<uint32_t>* commit_word_ = nullptr;
  uint32_t commit_changes_ = 0;
  uint32_t lost_changes_ = 0;

  // The last look.
  bool changed_ = false;
  bool by_time_ = false;  // no word will tell of what is waited for
  // The next key's bytes are, or will be, in a GPU that is not reached from
  // here; its host copy is to come.
  bool elsewhere_ = false;
  absl::Duration short_step_;
  // While the daemon is away: when anything last changed.
  absl::Time moved_at_ = absl::InfinitePast();

  StreamWaiter waiter_;
  std::optional<std::string> hand_over_;

  // --- copying ---
  uint32_t copied_ = 0;
  // Blocks [copied_, copied_layers_end_) have their first copied_layers_
  // layers copied, of the slices asked for last.
  uint32_t copied_layers_end_ = 0;
  uint32_t copied_layers_ = 0;
  uint32_t copied_slice_first_ = 0;
  uint32_t copied_slice_count_ = 0;

  // --- event_fd ---
  std::shared_ptr<StreamWatcher> watcher_;
  UniqueFd event_fd_;
  uint64_t watch_id_ = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_STREAM_STATE_H_
