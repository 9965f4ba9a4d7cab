#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_PAGE_CONTENT_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_PAGE_CONTENT_H_

#include <cstddef>
#include <optional>
#include <span>

#include "kvferry/key.h"

namespace kvferry::replay {

// The bytes a page must have follow from its block's key alone, so whoever
// reads a page knows them, whichever process wrote it. They look random: two
// keys' pages agree in a 64-bit word no more often than chance has it.
//
// Shape  any size; `page` is 8-byte aligned, as pages are
// Cost   about 1 ns a 64-bit word

void FillPage(const BlockKey& key, std::span<std::byte> page);

// The offset of the first byte that is not as FillPage writes it; nothing when
// all are.
std::optional<size_t> FindMismatch(const BlockKey& key,
                                   std::span<const std::byte> page);

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_PAGE_CONTENT_H_
