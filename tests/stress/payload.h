#ifndef KVFERRY_TESTS_STRESS_PAYLOAD_H_
#define KVFERRY_TESTS_STRESS_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvferry/key.h"

namespace kvferry::test {

// A page's bytes as a function of its key and slice, cheap enough that a reader
// can check every word of it: word i is key.lo + (i + 1) * (key.hi | 1) +
// slice.
inline void FillPage(const BlockKey& key, uint32_t slice,
                     std::span<std::byte> page) {
  auto* words = reinterpret_cast<uint64_t*>(page.data());
  uint64_t value = key.lo + slice;
  for (size_t i = 0; i < page.size() / 8; ++i) {
    words[i] = value += key.hi | 1;
  }
}

// The first word that is not what FillPage wrote, or -1.
inline int64_t FirstWrongWord(const BlockKey& key, uint32_t slice,
                              std::span<const std::byte> page) {
  const auto* words = reinterpret_cast<const uint64_t*>(page.data());
  uint64_t value = key.lo + slice;
  uint64_t wrong = 0;
  const size_t count = page.size() / 8;
  for (size_t i = 0; i < count; ++i) {
    value += key.hi | 1;
    wrong |= words[i] ^ value;
  }
  if (wrong == 0) return -1;
  value = key.lo + slice;
  for (size_t i = 0; i < count; ++i) {
    value += key.hi | 1;
    if (words[i] != value) return static_cast<int64_t>(i);
  }
  return 0;  // it changed back while we looked: wrong all the same
}

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_PAYLOAD_H_
