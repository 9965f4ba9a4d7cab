#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_PROMPT_INTAKE_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_PROMPT_INTAKE_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "sdk/examples/llama/hand_over.h"
#include "sdk/examples/llama/kv_link.h"
#include "sdk/examples/llama/paged_kv_cache.h"
#include "sdk/examples/llama/timeline.h"

namespace kvferry::llama {

// How decode came by a prompt's KV.
struct PromptIntake {
  uint32_t restored_tokens = 0;
  uint32_t restored_blocks = 0;
  // "ticket": followed what a ticket stands for; "in flight": found it being
  // written and followed; "cache": took what was ready; "none".
  std::string source = "none";
  // What the lookup said, where there was no ticket.
  std::optional<LookupResult> lookup;
  // Why following did not bring everything; OK if it did.
  absl::Status incomplete;
  // Only when every token of the prompt is here.
  std::optional<HandOver> hand_over;
  // To be released when there is time: the KV is here, nobody waits for it.
  std::optional<Ticket> ticket;
};

const char* LookupAnswerName(LookupAnswer answer);

// Brings what there is of `prompt` into `cache`: with `ticket` (as text; empty:
// none) by following what it stands for; else by what a lookup says: a hit is
// taken, a prompt on its way is followed. Sets sequence->length to the tokens
// that are there; the rest is the caller's to compute.
//
// REQUIRES  `sequence` is empty
// Errors    kInvalidArgument  no ticket, or one for another prompt
//           kResourceExhausted and those of Client::Match
absl::StatusOr<PromptIntake> TakePrompt(std::span<const uint32_t> prompt,
                                        const std::string& ticket,
                                        absl::Time deadline, KvLink* link,
                                        PagedKvCache* cache, Sequence* sequence,
                                        Timeline* timeline);

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_PROMPT_INTAKE_H_
