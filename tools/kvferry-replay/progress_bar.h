#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_PROGRESS_BAR_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_PROGRESS_BAR_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace kvferry::replay {

// "[######........]  43 %  5,170 of 12,031  0:12 left".
std::string ProgressText(uint64_t done, uint64_t total, absl::Duration elapsed);

// Draws that on standard error when it is a terminal; else it does nothing.
class ProgressBar {
 public:
  explicit ProgressBar(uint64_t total);
  // Wipes the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // Redraws at most ten times a second.
  void Update(uint64_t done);

 private:
  const uint64_t total_;
  const bool on_terminal_;
  const absl::Time start_;
  absl::Time drawn_ = absl::InfinitePast();
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_PROGRESS_BAR_H_
