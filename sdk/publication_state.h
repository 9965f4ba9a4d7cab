#ifndef KVFERRY_SDK_PUBLICATION_STATE_H_
#define KVFERRY_SDK_PUBLICATION_STATE_H_

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kvferry/publish.h"
#include "sdk/attachment.h"

namespace kvferry::sdk {

// What a Publication is made of: the attachment it began under (which stays
// mapped while it lives) and its record there.
//
// What copies into its pages by a device does so under a hold: Hold before the
// first copy is queued, Release after the last has ended and was committed.
// Meanwhile Close, Abort and the destructor wait, and no block goes back to the
// daemon that a device may still write, whatever becomes of the publication.
//
// Threads  one at a time; besides it, one more (the reaper) may call Look,
//          Commit, CommitLayers, AbortOne and, at last, Release
class PublicationState {
 public:
  static absl::StatusOr<std::unique_ptr<PublicationState>> Open(
      std::shared_ptr<Attachment> attachment, const PublicationOptions& options,
      absl::Time deadline);
  ~PublicationState();
  PublicationState(const PublicationState&) = delete;
  PublicationState& operator=(const PublicationState&) = delete;

  // See Publication.
  absl::StatusOr<uint32_t> Begin(uint32_t group, const BlockKey& parent,
                                 std::span<const BlockKey> keys,
                                 uint32_t tail_tokens, absl::Time deadline);
  BlockOutcome outcome(uint32_t position);
  uint32_t size() const { return size_; }
  BlockResidence residence(uint32_t position);
  std::span<std::byte> page(uint32_t position, uint32_t slice);
  // All pages of a position, slice after slice.
  // REQUIRES  this publication writes every slice
  std::span<std::byte> block(uint32_t position);
  absl::StatusOr<uint32_t> Fill(uint32_t first, const PagedMemory& memory,
                                std::span<const uint64_t> engine_blocks,
                                uint32_t last_tokens);  // paged_transfers.cc
  absl::Status CommitLayers(uint32_t first, uint32_t count, uint32_t layers);
  absl::Status Commit(uint32_t first, uint32_t count);
  absl::Status WaitForAnswers(absl::Time deadline);
  absl::Status SetHandOver(absl::string_view bytes);
  void Abort();
  absl::Status Close(absl::Time deadline);

  // The daemon's word for the publication, which it has by then, for a ticket
  // that `attachment` asks for.
  // Errors  kInvalidArgument     the publication is not of this attachment
  //         kFailedPrecondition  closed
  //         kUnavailable, kDeadlineExceeded
  absl::StatusOr<uint32_t> WaitForHandle(const Attachment& attachment,
                                         absl::Time deadline);

  // How many of a range are there for everybody, as far as this process's
  // slices go.
  uint32_t CountVisible(uint32_t first, uint32_t count);

  // --- for copies by a device (sdk/gpu) ---

  const std::shared_ptr<Attachment>& attachment() const { return attachment_; }
  // A position as of the daemon's answers so far; kVoid for one beyond size().
  PublicationEntry Look(uint32_t position) {
    return attachment_->channel().Look(record_, position);
  }
  // Where the position is to be written; kNone: it is not.
  static BlockResidence ResidenceOf(const PublicationEntry& entry);
  // The slices of `group` that this publication writes.
  uint64_t SlicesOf(const protocol::GroupRecord& group) const;
  // Errors  kInvalidArgument, kFailedPrecondition  in a forked child
  absl::Status CheckRange(const char* verb, uint32_t first,
                          uint64_t count) const;
  void AbortOne(uint32_t position) {
    attachment_->channel().AbortOne(record_, position);
  }
  // What copies by a device remember of this publication. Its user's.
  std::shared_ptr<void>& device_state() { return device_state_; }
  void Hold() { attachment_->channel().Hold(record_); }
  // The last thing that is done here: this may be gone when it returns.
  // REQUIRES  the caller keeps attachment()
  void Release() { attachment_->channel().Unhold(record_); }

 private:
  PublicationState(std::shared_ptr<Attachment> attachment,
                   PublicationRecord* record, BlockResidence residence)
      : attachment_(std::move(attachment)),
        record_(record),
        residence_(residence) {}

  // Where blocks of `group` are to be begun.
  uint32_t PoolFor(uint32_t group) const;
  // Aborts the positions from `first` on that this process cannot write.
  void GiveUpUnreachable(uint32_t first, absl::Time deadline);
  // Whether this process has the memory of a block that is to be written.
  bool Reaches(const PublicationEntry& entry);
  // In host memory; null for others.
  std::byte* BlockAddress(const PublicationEntry& entry);

  std::shared_ptr<Attachment> attachment_;
  PublicationRecord* record_;  // the channel's, until Abandon
  const BlockResidence residence_;
  uint32_t size_ = 0;
  std::vector<uint8_t> ready_;  // scratch of Begin
  std::shared_ptr<void> device_state_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PUBLICATION_STATE_H_
