#ifndef KVFERRY_SDK_PROGRESS_WRITER_H_
#define KVFERRY_SDK_PROGRESS_WRITER_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::sdk {

// The one writer of one record of the session's progress file: how far this
// process is in one publication. What is told before Open is kept and told by
// it; after Close nothing is.
//
// Each change is stored after a store fence, so that payload written past the
// caches is there before the word that says so (INV-STREAM-1).
//
// Life cycle  1. made: remembers   2. Open: tells   3. Close: silent, the
//             record is another publication's soon
// Cost        a change: a few stores and one FUTEX_WAKE
// Threads     one at a time
class ProgressWriter {
 public:
  // Takes over record `index` of `file` for the publication `generation`.
  // REQUIRES  index < kProgressRecords, generation != 0; was never opened
  void Open(protocol::ProgressHeader* file, uint32_t index,
            uint32_t generation);
  bool open() const { return record_ != nullptr; }

  // The first `positions` positions are done. Never fewer than before.
  void Advance(uint32_t positions);

  // Of the positions up to `chunk_end`, the first `layers` layers are written.
  // What was told of the chunk stays: fewer layers than before, or another
  // end, change nothing.
  // REQUIRES  chunk_end is beyond the positions that are done
  void Layers(uint32_t chunk_end, uint32_t layers);

  // Replaces the hand-over data; empty: none.
  // REQUIRES  open(), bytes.size() <= kHandOverBytesMax
  void SetHandOver(absl::string_view bytes);

  // What is not done now never will be ...
  void GiveUp();
  // ... but more is begun after all.
  void GoOn();

  // To be called before the daemon is told that the handle is closed.
  void Close();

 private:
  void StoreWord();
  // Says that something changed, to whoever looks and to whoever waits.
  void Changed();

  protocol::ProgressRecord* record_ = nullptr;
  char* hand_over_ = nullptr;
  uint32_t generation_ = 0;
  uint32_t positions_ = 0;
  uint32_t chunk_end_ = 0;
  uint32_t layers_ = 0;  // of the chunk; zero: chunk_end_ means nothing
  bool gave_up_ = false;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PROGRESS_WRITER_H_
