#ifndef KVFERRY_SDK_GPU_PUBLISH_LINE_H_
#define KVFERRY_SDK_GPU_PUBLISH_LINE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "sdk/gpu/gpu_operation.h"
#include "sdk/publication_state.h"

namespace kvferry::sdk {

// One PublishFrom: what is written where, and what is due when it is.
struct PublishEntry {
  struct Written {
    uint32_t position = 0;
    uint32_t block = 0;
    uint32_t pool = 0;         // 0: host memory
    uint32_t incarnation = 0;  // of the pool's memory that is written to
  };

  std::shared_ptr<GpuOperation> operation;
  // [first, first + count), of which `written` are this transfer's to write.
  uint32_t first = 0;
  uint32_t count = 0;
  std::vector<Written> written;
  // How many leading layers are there with this one; 0: all, of every page.
  uint32_t layers = 0;
  bool commit = false;
  // Ends the transfer: the last thing that is done with the entry.
  std::function<void()> finish;

  bool ended = false;  // the line's
};

// The transfers of one publication, in the order of the calls: each is
// committed, or told to readers, when it and all before it have landed.
//
// What fails takes its positions with it. They are aborted once no transfer
// writes to them any more: an abort gives their memory back.
//
// Threads  CheckLayers, Spoilt, Enter: the publication's user. End: any.
class PublishLine {
 public:
  // Whether a transfer of `layers` of the chunk [first, first + count), whose
  // pages have `layer_count`, comes next: those of a chunk go in order.
  // Errors  kInvalidArgument  which would
  absl::Status CheckLayers(uint32_t first, uint32_t count,
                           gpu::LayerRange layers, uint32_t layer_count) const;
  // Whether a position has failed and must not be written again.
  bool Spoilt(uint32_t position) const;

  // Takes a transfer that is about to start.
  void Enter(std::shared_ptr<PublishEntry> entry, gpu::LayerRange layers);
  // Its device work has ended. Does what is due for it and for those that
  // waited behind it.
  // REQUIRES  every entry's publication is `state`, and is held for each
  void End(PublishEntry* entry, PublicationState* state);

 private:
  void Settle(PublishEntry* entry, PublicationState* state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether what was written is what would be committed.
  absl::Status Check(const PublishEntry::Written& written,
                     const PublicationEntry& now,
                     const Attachment& attachment) const;
  void AbortSpoilt(PublicationState* state)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  std::deque<std::shared_ptr<PublishEntry>> entries_ ABSL_GUARDED_BY(mutex_);
  // Failed: those that wait for their abort, and those that had it.
  std::set<uint32_t> spoilt_ ABSL_GUARDED_BY(mutex_);
  std::set<uint32_t> to_abort_ ABSL_GUARDED_BY(mutex_);
  // The chunk whose layers come in parts.
  uint32_t chunk_first_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t chunk_count_ ABSL_GUARDED_BY(mutex_) = 0;
  uint32_t chunk_layers_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_PUBLISH_LINE_H_
