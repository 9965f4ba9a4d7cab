#ifndef KVFERRY_LOOKUP_H_
#define KVFERRY_LOOKUP_H_

#include <cstdint>

#include "absl/time/time.h"

namespace kvferry {

// What a lookup found. It pins nothing and leaves no trace: asked again, with
// nothing changed, it answers the same.
enum class LookupAnswer : uint8_t {
  kNothing = 0,   // no block of the prompt is here or on its way
  kHit = 1,       // `tokens` now, and nothing more is on its way
  kAskAgain = 2,  // `tokens` now (perhaps 0), `coming_tokens` later
};

struct LookupResult {
  LookupAnswer answer = LookupAnswer::kNothing;
  // Tokens that Match would hit now.
  uint64_t tokens = 0;
  // Tokens that are here or being written, or on their way from a GPU to where
  // this client can read them; not less than `tokens`.
  uint64_t coming_tokens = 0;
  // When the last of them may be here, going by the publisher's pace so far;
  // infinite when it cannot be told. Zero when nothing is on its way.
  absl::Duration estimate;
};

}  // namespace kvferry

#endif  // KVFERRY_LOOKUP_H_
