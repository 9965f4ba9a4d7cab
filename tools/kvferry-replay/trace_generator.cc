#include "tools/kvferry-replay/trace_generator.h"

#include <array>
#include <utility>

#include "tools/kvferry-replay/random.h"
#include "tools/support/json.h"

namespace kvferry::replay {
namespace {

constexpr size_t kSystemPrompts = 16;
constexpr uint64_t kSystemTokensMax = 4096;
constexpr uint64_t kTurnTokensMin = 16;
constexpr uint64_t kTurnTokensMax = 6000;
constexpr uint64_t kAnswerTokensMax = 1000;
constexpr size_t kOpenConversationsMax = 64;
// One request in so many begins a conversation; a conversation's length
// follows from it.
constexpr uint64_t kNewConversationOneIn = 3;
constexpr uint64_t kGapMsMax = 600;
// A conversation that has grown to this ends: context windows are finite.
constexpr uint64_t kContextTokensMax = 100000;

// What was said so far: ids of its full blocks, and how many tokens they and
// the incomplete one after them hold.
struct Conversation {
  std::vector<uint64_t> full_blocks;
  uint64_t tokens = 0;
};

class Generator {
 public:
  Generator(uint64_t seed, uint32_t block_tokens)
      : random_(seed), block_tokens_(block_tokens) {
    for (Conversation& prompt : system_prompts_) {
      Say(random_.Between(1, kSystemTokensMax), &prompt);
    }
  }

  TraceRequest Next() {
    now_ms_ += random_.Below(kGapMsMax);
    Conversation& conversation = Choose();
    Say(random_.Between(kTurnTokensMin, kTurnTokensMax), &conversation);

    TraceRequest request;
    request.timestamp_ms = now_ms_;
    request.input_tokens = conversation.tokens;
    request.output_tokens = random_.Between(1, kAnswerTokensMax);
    request.hash_ids = conversation.full_blocks;
    // An incomplete block has another content, so another id, in every turn.
    if (conversation.tokens % block_tokens_ != 0) {
      request.hash_ids.push_back(next_id_++);
    }
    Say(request.output_tokens, &conversation);
    return request;
  }

 private:
  void Say(uint64_t tokens, Conversation* conversation) {
    conversation->tokens += tokens;
    while (conversation->full_blocks.size() <
           conversation->tokens / block_tokens_) {
      conversation->full_blocks.push_back(next_id_++);
    }
  }

  // One that goes on, or a new one, which takes the place of an old one when
  // there are too many.
  Conversation& Choose() {
    const bool fresh = open_.empty() || random_.OneIn(kNewConversationOneIn);
    if (!fresh) {
      Conversation& chosen = open_[random_.Below(open_.size())];
      if (chosen.tokens < kContextTokensMax) return chosen;
      chosen = system_prompts_[ChooseSystemPrompt()];
      return chosen;
    }
    if (open_.size() < kOpenConversationsMax) {
      open_.push_back(system_prompts_[ChooseSystemPrompt()]);
      return open_.back();
    }
    Conversation& replaced = open_[random_.Below(open_.size())];
    replaced = system_prompts_[ChooseSystemPrompt()];
    return replaced;
  }

  // Prompt i is chosen in proportion to 1 / (i + 1).
  size_t ChooseSystemPrompt() {
    constexpr uint64_t kUnit = 720720;  // divisible by 1 to 16
    uint64_t total = 0;
    for (size_t i = 0; i < kSystemPrompts; ++i) total += kUnit / (i + 1);
    uint64_t left = random_.Below(total);
    for (size_t i = 0; i < kSystemPrompts; ++i) {
      if (left < kUnit / (i + 1)) return i;
      left -= kUnit / (i + 1);
    }
    return 0;
  }

  Random random_;
  const uint64_t block_tokens_;
  uint64_t next_id_ = 0;
  uint64_t now_ms_ = 0;
  std::array<Conversation, kSystemPrompts> system_prompts_;
  std::vector<Conversation> open_;
};

}  // namespace

std::vector<TraceRequest> GenerateTrace(uint64_t seed, uint64_t count,
                                        uint32_t block_tokens) {
  Generator generator(seed, block_tokens);
  std::vector<TraceRequest> requests;
  for (uint64_t i = 0; i < count; ++i) {
    requests.push_back(generator.Next());
    requests.back().line = static_cast<uint32_t>(i + 1);
  }
  return requests;
}

void WriteTrace(const std::vector<TraceRequest>& requests, std::ostream& out) {
  for (const TraceRequest& request : requests) {
    tools::Json json;
    json["timestamp"] = request.timestamp_ms;
    json["input_length"] = request.input_tokens;
    json["output_length"] = request.output_tokens;
    json["hash_ids"] = request.hash_ids;
    out << tools::JsonText(json) << "\n";
  }
}

}  // namespace kvferry::replay
