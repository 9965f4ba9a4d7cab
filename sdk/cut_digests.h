#ifndef KVFERRY_SDK_CUT_DIGESTS_H_
#define KVFERRY_SDK_CUT_DIGESTS_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kvferry/key.h"

namespace kvferry::sdk {

// What KeyFromDigest answers for many digests of DigestKind::kCryptographic, a
// nanosecond each: digest i begins at digests + i * stride.
// REQUIRES  each has at least 16 bytes
void CutDigests(uint32_t group, const std::byte* digests, size_t stride,
                std::span<BlockKey> keys);

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_CUT_DIGESTS_H_
