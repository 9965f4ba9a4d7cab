#ifndef KVFERRY_TESTS_SUPPORT_STREAM_PAYLOAD_H_
#define KVFERRY_TESTS_SUPPORT_STREAM_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kvferry/key.h"

namespace kvferry::test {

// The bytes that a page must have, as a function of key, slice and place, so
// that any part of it (a layer) can be written and checked by itself.
inline uint64_t PayloadWord(const BlockKey& key, uint32_t slice,
                            uint64_t word) {
  return (key.lo + slice) * 0x9e37'79b9'7f4a'7c15 + (word + 1) * (key.hi | 1);
}

// Writes the part of a page that begins at `offset`, a multiple of 8.
inline void WritePayload(const BlockKey& key, uint32_t slice, uint64_t offset,
                         std::span<std::byte> part) {
  for (uint64_t at = 0; at + 8 <= part.size(); at += 8) {
    const uint64_t word = PayloadWord(key, slice, (offset + at) / 8);
    std::memcpy(part.data() + at, &word, 8);
  }
}

// Whether the part has the bytes of WritePayload; an empty one has not.
inline bool IsPayload(const BlockKey& key, uint32_t slice, uint64_t offset,
                      std::span<const std::byte> part) {
  uint64_t wrong = part.empty() ? 1 : 0;
  for (uint64_t at = 0; at + 8 <= part.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, part.data() + at, 8);
    wrong |= word ^ PayloadWord(key, slice, (offset + at) / 8);
  }
  return wrong == 0;
}

// Bytes that no block has: what an unfinished page is full of.
inline void Scribble(std::span<std::byte> part) {
  if (!part.empty()) std::memset(part.data(), 0xee, part.size());
}

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_STREAM_PAYLOAD_H_
