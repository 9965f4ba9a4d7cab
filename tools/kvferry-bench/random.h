#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_RANDOM_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_RANDOM_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kvferry/key.h"

namespace kvferry::bench {

// The finalizer of SplitMix64: a bijection that scatters its argument.
constexpr uint64_t Mix64(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// The key with number `index` of the sequence `seed`: as uniform as a digest,
// and made in a nanosecond, so that a benchmark of lookups needs no array of
// keys that competes with the index for the cache.
constexpr BlockKey KeyAt(uint64_t seed, uint64_t index) {
  const uint64_t base = Mix64(seed);
  return {Mix64(base ^ index), Mix64(~base - index)};
}

// Zeros and repeats are written faster than data: every buffer holds these.
inline void FillRandom(std::span<std::byte> bytes, uint64_t seed) {
  uint64_t lanes[8];
  for (uint64_t i = 0; i < 8; ++i) lanes[i] = Mix64(seed * 8 + i) | 1;
  size_t offset = 0;
  while (offset < bytes.size()) {
    for (uint64_t& lane : lanes) {
      lane ^= lane << 13;
      lane ^= lane >> 7;
      lane ^= lane << 17;
    }
    const size_t left = bytes.size() - offset;
    const size_t now = left < sizeof(lanes) ? left : sizeof(lanes);
    std::memcpy(bytes.data() + offset, lanes, now);
    offset += now;
  }
}

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_RANDOM_H_
