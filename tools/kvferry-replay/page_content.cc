#include "tools/kvferry-replay/page_content.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "tools/kvferry-replay/random.h"

namespace kvferry::replay {
namespace {

// Words are made from their number, not from the one before, so that the
// processor works on several at once. The last one may be cut by the page's
// end.
uint64_t WordAt(const BlockKey& key, uint64_t index) {
  return Mix(key.lo + index * kWeyl) + key.hi;
}

}  // namespace

void FillPage(const BlockKey& key, std::span<std::byte> page) {
  const size_t words = page.size() / sizeof(uint64_t);
  for (size_t i = 0; i < words; ++i) {
    const uint64_t word = WordAt(key, i);
    std::memcpy(page.data() + i * sizeof(word), &word, sizeof(word));
  }
  const size_t rest = page.size() % sizeof(uint64_t);
  if (rest == 0) return;  // an empty page has no address to copy to
  const uint64_t last = WordAt(key, words);
  std::memcpy(page.data() + words * sizeof(last), &last, rest);
}

std::optional<size_t> FindMismatch(const BlockKey& key,
                                   std::span<const std::byte> page) {
  for (size_t offset = 0; offset < page.size(); offset += sizeof(uint64_t)) {
    const uint64_t want = WordAt(key, offset / sizeof(want));
    uint64_t have = want;
    std::memcpy(&have, page.data() + offset,
                std::min(sizeof(have), page.size() - offset));
    if (have != want) {
      // Little-endian, as every platform we build for is.
      return offset + static_cast<size_t>(std::countr_zero(have ^ want)) / 8;
    }
  }
  return std::nullopt;
}

}  // namespace kvferry::replay
