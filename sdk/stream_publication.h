#ifndef KVFERRY_SDK_STREAM_PUBLICATION_H_
#define KVFERRY_SDK_STREAM_PUBLICATION_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"
#include "sdk/attachment.h"
#include "sdk/stream_waiter.h"

namespace kvferry::sdk {

// One publication as a reader follows it: what its record in the index and its
// writers' progress records say, put together over the slices of one group.
//
// Positions below positions() are whole (INV-STREAM-1), which a caller believes
// only after it has found the slot unchanged. What was seen of a slice's writer
// stays true after it has gone, until another one comes for the slice.
//
// Life cycle  1. Follow   2. Look, then the queries   3. Follow another, or
//             Forget
// Threads     one at a time
class StreamPublication {
 public:
  // Follows `ref` (its position does not matter) of a group with `slice_count`
  // slices. One that is followed already goes on as it was.
  // REQUIRES  ref.followable(); `attachment` stays until Forget
  void Follow(Attachment* attachment, protocol::PublicationRef ref,
              uint32_t slice_count);
  void Forget();

  bool following() const { return attachment_ != nullptr; }
  bool Follows(protocol::PublicationRef ref) const {
    return following() && ref.generation == ref_.generation &&
           ref.slot == ref_.slot;
  }
  protocol::PublicationRef ref() const { return ref_; }

  // Takes in what is there now.
  // Cost      one load a writer and slice; a writer that is new, or whose
  //           record says nothing of this publication, is asked for
  //           (ProgressFiles::Ask)
  void Look();
  // The same of the publication's record alone, not of its writers.
  void LookAtRecord();

  // Whether it was under way, as of the last look.
  bool open() const { return open_; }
  // Leading positions that every needed writer is done with.
  uint32_t positions() const { return positions_; }
  // Positions [positions(), chunk_end()) have their first layers() layers.
  uint32_t chunk_end() const { return chunk_end_; }
  uint32_t layers() const { return layers_; }
  // From which position on a writer has given up; none: above all.
  uint32_t given_up_at() const { return given_up_at_; }
  // Whether some writer's record could not be found (yet), so that only time
  // can tell more.
  bool unresolved() const { return unresolved_; }
  // Milliseconds since it was opened.
  uint32_t age_ms() const;

  // What to wait for, as of the last look.
  void AddWords(StreamWaiter* waiter) const;
  // The record's alone.
  void AddRecordWord(StreamWaiter* waiter) const {
    waiter->Add(&record_->changes, changes_, nullptr);
  }

  // Copies the hand-over data of any of its writers; false when there are none
  // under its generation.
  bool CopyHandOver(std::string* data) const;

 private:
  struct Writer {
    uint16_t ref = protocol::kNoWriter;
    // Slices of the group that it writes now; a writer without any has gone,
    // and is kept for its hand-over data.
    uint64_t slices = 0;
    std::shared_ptr<const ProgressFile> file;
    const protocol::ProgressRecord* record = nullptr;
    // As of the last look.
    uint32_t changes = 0;
    bool speaks = false;  // its word has this generation
    bool given_up = false;
    uint32_t positions = 0;
    uint32_t chunk_end = 0;
    uint32_t layers = 0;
  };

  // Reads who writes which slice. False when the record is another's by now.
  bool TakeWriters();
  Writer* WriterFor(uint16_t ref);
  void Resolve(Writer* writer);
  void LookAtWriter(Writer* writer) const;
  void Combine();
  void CombineLayers();

  Attachment* attachment_ = nullptr;
  const protocol::PublicationRecord* record_ = nullptr;
  protocol::PublicationRef ref_;
  uint64_t needed_ = 0;  // slices; all of them for a group with one
  bool any_writer_ = false;

  bool open_ = false;
  bool know_writers_ = false;
  bool unresolved_ = false;
  uint32_t changes_ = 0;          // of the record, as of the last look
  uint32_t writers_changes_ = 0;  // ... when its writers were read
  uint32_t positions_ = 0;
  uint32_t chunk_end_ = 0;
  uint32_t layers_ = 0;
  uint32_t given_up_at_ = ~uint32_t{0};
  uint32_t writer_count_ = 0;
  std::array<Writer, protocol::kSlicesMax> writers_;
  // By slice: positions its writer was seen to have passed, and who that was.
  std::array<uint32_t, protocol::kSlicesMax> done_{};
  std::array<uint16_t, protocol::kSlicesMax> told_by_{};
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_STREAM_PUBLICATION_H_
