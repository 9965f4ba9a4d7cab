#include "sdk/examples/llama/prompt_intake.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/examples/llama/kv_follower.h"

namespace kvferry::llama {
namespace {

// Whether a ticket's blocks are the first ones of the prompt's.
absl::Status CheckTicket(const TicketContent& content,
                         const PromptBlocks& blocks) {
  const std::vector<BlockKey>& keys = content.keys;
  if (keys.size() <= blocks.keys.size() &&
      std::equal(keys.begin(), keys.end(), blocks.keys.begin())) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--ticket is for another prompt: its ", keys.size(),
      " blocks are not the first of this one's ", blocks.keys.size()));
}

// Follows `blocks` of the prompt and enters what came of it.
absl::Status Follow(const PromptBlocks& blocks,
                    const PublicationHint& publication, absl::Time deadline,
                    KvLink* link, PagedKvCache* cache, Sequence* sequence,
                    Timeline* timeline, PromptIntake* intake,
                    std::optional<std::string>* hand_over) {
  KVFERRY_ASSIGN_OR_RETURN(FollowedBlocks followed,
                           FollowBlocks(blocks, publication, deadline, link,
                                        cache, sequence, timeline));
  intake->restored_tokens = followed.tokens;
  intake->restored_blocks = followed.blocks;
  intake->incomplete = followed.status;
  *hand_over = std::move(followed.hand_over);
  return absl::OkStatus();
}

// Without a ticket: asks first, then takes, or follows.
absl::Status TakeByLookup(std::span<const uint32_t> prompt,
                          const PromptBlocks& blocks, absl::Time deadline,
                          KvLink* link, PagedKvCache* cache, Sequence* sequence,
                          Timeline* timeline, PromptIntake* intake,
                          std::optional<std::string>* hand_over) {
  const GroupKeys keys = {.keys = blocks.keys,
                          .tail_tokens = blocks.tail_tokens};
  KVFERRY_ASSIGN_OR_RETURN(intake->lookup,
                           link->client().Lookup(std::span(&keys, 1)));
  if (intake->lookup->answer == LookupAnswer::kAskAgain) {
    intake->source = "in flight";
    return Follow(blocks, {}, deadline, link, cache, sequence, timeline, intake,
                  hand_over);
  }
  // Also when it found nothing: a shorter tail of the first block may be there.
  const uint64_t begin_ns = Timeline::NowNs();
  KVFERRY_ASSIGN_OR_RETURN(intake->restored_tokens,
                           link->Restore(prompt, cache, sequence));
  if (intake->restored_tokens == 0) return absl::OkStatus();
  timeline->Span("copy", begin_ns, Timeline::NowNs());
  intake->source = "cache";
  const uint32_t block_tokens = link->group().block_tokens;
  intake->restored_blocks =
      (intake->restored_tokens + block_tokens - 1) / block_tokens;
  return absl::OkStatus();
}

}  // namespace

const char* LookupAnswerName(LookupAnswer answer) {
  switch (answer) {
    case LookupAnswer::kNothing:
      return "nothing";
    case LookupAnswer::kHit:
      return "hit";
    case LookupAnswer::kAskAgain:
      return "ask again";
  }
  return "unknown";
}

absl::StatusOr<PromptIntake> TakePrompt(std::span<const uint32_t> prompt,
                                        const std::string& ticket_text,
                                        absl::Time deadline, KvLink* link,
                                        PagedKvCache* cache, Sequence* sequence,
                                        Timeline* timeline) {
  const PromptBlocks blocks = link->BlocksOf(prompt);
  PromptIntake intake;
  std::optional<std::string> hand_over;
  std::optional<Ticket> ticket;
  absl::StatusOr<TicketContent> content = absl::NotFoundError("no ticket");
  if (!ticket_text.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(ticket, TicketFromText(ticket_text));
    const uint64_t begin_ns = Timeline::NowNs();
    content = link->client().RedeemTicket(*ticket);
    timeline->Span("redeem", begin_ns, Timeline::NowNs());
  }
  if (content.ok()) {
    KVFERRY_RETURN_IF_ERROR(CheckTicket(*content, blocks));
    intake.source = "ticket";
    KVFERRY_RETURN_IF_ERROR(Follow({content->keys, content->tail_tokens},
                                   content->publication, deadline, link, cache,
                                   sequence, timeline, &intake, &hand_over));
    if (!hand_over.has_value() && !content->hand_over.empty()) {
      hand_over = content->hand_over;
    }
    // The publication may have ended before this process came to follow it.
    // Its data are with the ticket then.
    if (!hand_over.has_value() && intake.incomplete.ok()) {
      content = link->client().RedeemTicket(*ticket);
      if (content.ok() && !content->hand_over.empty()) {
        hand_over = content->hand_over;
      }
    }
    intake.ticket = std::move(ticket);
  } else if (absl::IsNotFound(content.status())) {
    // No ticket, or one that is over: the blocks may be there still.
    KVFERRY_RETURN_IF_ERROR(TakeByLookup(prompt, blocks, deadline, link, cache,
                                         sequence, timeline, &intake,
                                         &hand_over));
  } else {
    return content.status();
  }
  if (hand_over.has_value() && intake.restored_tokens == prompt.size()) {
    KVFERRY_ASSIGN_OR_RETURN(intake.hand_over, HandOver::Decode(*hand_over));
  }
  return intake;
}

}  // namespace kvferry::llama
