#ifndef KVFERRY_DAEMON_CORE_PROMOTION_BUDGET_H_
#define KVFERRY_DAEMON_CORE_PROMOTION_BUDGET_H_

#include <algorithm>
#include <cstdint>

namespace kvferry::core {

// What may be copied to a device on account of its use: a token bucket of
// bytes that fills at a rate and holds what comes in a second.
//
// Threads  one
class PromotionBudget {
 public:
  // `largest`: the most that is taken at once. It fits, however low the rate.
  PromotionBudget(uint64_t bytes_per_second, uint64_t largest)
      : rate_(bytes_per_second),
        capacity_(rate_ == 0 ? 0 : std::max(rate_, largest)),
        tokens_(capacity_) {}

  // Takes `bytes`; false, and nothing is taken: there is not so much.
  bool Take(uint64_t bytes, uint64_t now_ms) {
    if (now_ms > filled_ms_) {
      // After a second it is full, so that more does not count; no overflow.
      const uint64_t passed_ms =
          std::min<uint64_t>(now_ms - filled_ms_, kFullMs);
      const uint64_t missing = capacity_ - tokens_;
      // In thousandths of a byte, so that a low rate is not rounded away.
      const uint64_t gained = passed_ms * (rate_ % 1000) + rest_;
      tokens_ += std::min(missing, passed_ms * (rate_ / 1000) + gained / 1000);
      rest_ = gained % 1000;
      filled_ms_ = now_ms;
    }
    if (tokens_ < bytes || capacity_ == 0) return false;
    tokens_ -= bytes;
    return true;
  }

  void GiveBack(uint64_t bytes) {
    tokens_ = std::min(capacity_, tokens_ + bytes);
  }

 private:
  // A block may be more than a second's worth.
  static constexpr uint64_t kFullMs = 3600 * 1000;

  const uint64_t rate_;
  const uint64_t capacity_;
  uint64_t tokens_;
  uint64_t rest_ = 0;  // thousandths of a byte
  uint64_t filled_ms_ = 0;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_PROMOTION_BUDGET_H_
