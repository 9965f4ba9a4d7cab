#ifndef KVFERRY_SDK_PROGRESS_FILES_H_
#define KVFERRY_SDK_PROGRESS_FILES_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mapping.h"
#include "base/mutex.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"
#include "sdk/connection.h"

namespace kvferry::sdk {

// One session's progress file, as its readers see it.
class ProgressFile {
 public:
  // REQUIRES  the header's memory stays as long as this, or is `mapping`'s
  explicit ProgressFile(const protocol::ProgressHeader* header,
                        Mapping mapping = {})
      : header_(header), mapping_(std::move(mapping)) {}

  uint32_t session() const { return header_->session; }
  // REQUIRES  index < kProgressRecords
  const protocol::ProgressRecord& record(uint32_t index) const {
    return At<protocol::ProgressRecord>(
        protocol::kProgressRecordsOffset)[index];
  }
  // The kHandOverBytesMax bytes of record `index`.
  const char* hand_over(uint32_t index) const {
    return At<char>(protocol::kHandOverOffset) +
           uint64_t{index} * protocol::kHandOverBytesMax;
  }

 private:
  template <typename T>
  const T* At(uint64_t offset) const {
    return reinterpret_cast<const T*>(
        reinterpret_cast<const std::byte*>(header_) + offset);
  }

  const protocol::ProgressHeader* header_;
  Mapping mapping_;
};

// The progress files of a namespace's sessions, by their numbers in
// PublicationRecord::writers, mapped as they are asked for. A number may go
// from one session to another; who still holds the old file keeps it mapped.
//
// Threads  any number
class ProgressFiles {
 public:
  // The file, when it is mapped already; nullptr else.
  // Cost  a mutex; no system call
  std::shared_ptr<const ProgressFile> Find(uint8_t file) const;

  // The file, asked of the daemon when it is not mapped, or when `stale` is
  // what is mapped: it does not say what the caller expects, so the number may
  // be another session's by now. nullptr when there is none (yet): its session
  // is gone, or has not sealed it.
  //
  // Blocking  one round trip, 20 ms at most. A file is asked for again after
  //           5 ms at the earliest, and twice as late each time that brought
  //           nothing new; until then the answer is what is mapped.
  std::shared_ptr<const ProgressFile> Ask(Connection* connection,
                                          uint64_t epoch, uint8_t file,
                                          const ProgressFile* stale);

  // Enters memory that somebody else keeps.
  void Enter(uint8_t file, const protocol::ProgressHeader* header);

 private:
  struct Entry {
    std::shared_ptr<const ProgressFile> file;
    absl::Time ask_again = absl::InfinitePast();
    absl::Duration ask_step;
  };

  // Whether `stale` may still be replaced now; notes that it is asked for.
  bool MayAsk(uint8_t number, const ProgressFile* stale);
  void Replace(uint8_t number, std::shared_ptr<const ProgressFile> file);

  // Held while a question is under way, so that of several threads that want
  // one file the first asks and the others find it. Before mutex_.
  Mutex ask_mutex_;
  mutable Mutex mutex_;
  std::array<Entry, protocol::kSessionsPerNamespaceMax> entries_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_PROGRESS_FILES_H_
