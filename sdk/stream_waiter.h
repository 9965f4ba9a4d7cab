#ifndef KVFERRY_SDK_STREAM_WAITER_H_
#define KVFERRY_SDK_STREAM_WAITER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/time/time.h"
#include "sdk/futex.h"
#include "sdk/progress_files.h"

namespace kvferry::sdk {

// The words that can change what a stream has seen, with what they said before
// it looked; waits until one of them says something else. Reuses its memory.
//
// Threads  one at a time
class StreamWaiter {
 public:
  void Clear() { count_ = 0; }
  // `keep` (nullptr: the attachment's) is what the word is mapped by. Words
  // beyond kWordsMax are left out; see full().
  void Add(const std::atomic<uint32_t>* word, uint32_t expected,
           const std::shared_ptr<const ProgressFile>* keep);

  std::span<const FutexWord> words() const { return {words_.data(), count_}; }
  // What has to stay mapped while words()[i] is waited for.
  const std::shared_ptr<const ProgressFile>* keep(size_t i) const {
    return keep_[i];
  }
  // Some words found no room: the wait must be short.
  bool full() const { return count_ == kWordsMax; }

  // Polls the words for `spin`, then sleeps on them, `step` at most together.
  void Wait(absl::Duration spin, absl::Duration step) const;

 private:
  // Every slice's writer, two publications' records, the daemon's loss.
  static constexpr size_t kWordsMax = protocol::kSlicesMax + 4;
  static_assert(kWordsMax <= kFutexWordsMax);

  size_t count_ = 0;
  std::array<FutexWord, kWordsMax> words_;
  std::array<const std::shared_ptr<const ProgressFile>*, kWordsMax> keep_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_STREAM_WAITER_H_
