#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_KV_FOLLOWER_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_KV_FOLLOWER_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sdk/examples/llama/kv_link.h"
#include "sdk/examples/llama/paged_kv_cache.h"
#include "sdk/examples/llama/prompt_blocks.h"
#include "sdk/examples/llama/timeline.h"

namespace kvferry::llama {

// What came of following a prompt's blocks.
struct FollowedBlocks {
  uint32_t blocks = 0;  // leading ones that are in the engine's memory
  uint32_t tokens = 0;
  // OK when it is all of them; else why the rest is not.
  absl::Status status;
  uint64_t last_byte_ns = 0;  // when the last copy ended; 0: nothing was copied
  std::optional<std::string> hand_over;
};

// Brings `blocks` into blocks of `cache` while they are being written, layer by
// layer, by whoever `publication` names; with none, by whoever writes the first
// block that is in flight. Sets sequence->length to the tokens that are there
// in the end, which may be fewer: the publisher may die, or `deadline` pass.
//
// REQUIRES  `sequence` is empty
// Errors    kResourceExhausted  the cache has no room; those of Client::Match.
//           On error the sequence is empty.
absl::StatusOr<FollowedBlocks> FollowBlocks(const PromptBlocks& blocks,
                                            const PublicationHint& publication,
                                            absl::Time deadline, KvLink* link,
                                            PagedKvCache* cache,
                                            Sequence* sequence,
                                            Timeline* timeline);

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_KV_FOLLOWER_H_
