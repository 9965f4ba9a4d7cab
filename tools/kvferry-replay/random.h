#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_RANDOM_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_RANDOM_H_

#include <cstdint>

namespace kvferry::replay {

// Spreads every bit of `value` over all 64: the finaliser of SplitMix64.
constexpr uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

// An odd number whose multiples fill the 64-bit words evenly; word n of a
// sequence is Mix(start + n * kWeyl).
inline constexpr uint64_t kWeyl = 0x9e3779b97f4a7c15;

// A sequence that its seed decides, the same on every platform (the standard
// library's distributions are not).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t Word() { return Mix(state_ += kWeyl); }
  // From [0, bound), bound > 0; for small bounds as good as even.
  uint64_t Below(uint64_t bound) { return Word() % bound; }
  // From [low, high].
  uint64_t Between(uint64_t low, uint64_t high) {
    return low + Below(high - low + 1);
  }
  bool OneIn(uint64_t count) { return Below(count) == 0; }

 private:
  uint64_t state_;
};

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_RANDOM_H_
