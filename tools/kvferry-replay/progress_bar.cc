#include "tools/kvferry-replay/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "absl/time/clock.h"
#include "tools/support/units.h"

namespace kvferry::replay {
namespace {

constexpr uint64_t kBarWidth = 32;
constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);

}  // namespace

std::string ProgressText(uint64_t done, uint64_t total,
                         absl::Duration elapsed) {
  const uint64_t filled = total == 0 ? 0 : done * kBarWidth / total;
  std::string text = fmt::format(
      "[{}{}] {:>3} %  {} of {}", std::string(filled, '#'),
      std::string(kBarWidth - filled, '.'), total == 0 ? 0 : done * 100 / total,
      tools::CountText(done), tools::CountText(total));
  if (done > 0) {
    const double share =
        static_cast<double>(total - done) / static_cast<double>(done);
    const int64_t left_s = absl::ToInt64Seconds(elapsed * share);
    text += fmt::format("  {}:{:02} left", left_s / 60, left_s % 60);
  }
  return text;
}

ProgressBar::ProgressBar(uint64_t total)
    : total_(total),
      on_terminal_(::isatty(STDERR_FILENO) == 1),
      start_(absl::Now()) {}

ProgressBar::~ProgressBar() {
  if (on_terminal_) std::fputs("\r\x1b[K", stderr);
}

void ProgressBar::Update(uint64_t done) {
  if (!on_terminal_) return;
  const absl::Time now = absl::Now();
  if (now - drawn_ < kRedrawInterval) return;
  drawn_ = now;
  std::fprintf(stderr, "\r\x1b[K%s",
               ProgressText(done, total_, now - start_).c_str());
  std::fflush(stderr);
}

}  // namespace kvferry::replay
