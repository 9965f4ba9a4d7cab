#ifndef KVFERRY_PROTOCOL_PAGE_BYTES_H_
#define KVFERRY_PROTOCOL_PAGE_BYTES_H_

#include <cstdint>
#include <optional>

#include "kvferry/layout.h"

namespace kvferry::protocol {

// The bytes of a page, or nothing when they do not fit 64 bits.
inline std::optional<uint64_t> PageBytes(const GroupSpec& group) {
  uint64_t bytes = group.head_bytes;
  for (const uint64_t factor : {group.head_count, group.kv_count,
                                group.layer_count, group.block_tokens}) {
    if (__builtin_mul_overflow(bytes, factor, &bytes)) return std::nullopt;
  }
  return bytes;
}

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_PAGE_BYTES_H_
