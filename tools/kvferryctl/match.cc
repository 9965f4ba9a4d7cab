#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "tools/kvferryctl/token_file.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/table.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

using tools::CountText;
using tools::Json;

// What became of one prompt in one group.
struct MatchAnswer {
  std::string namespace_name;
  uint32_t group = 0;
  uint32_t block_tokens = 0;
  uint64_t prompt_tokens = 0;
  uint64_t hit_tokens = 0;
  uint32_t first_block = 0;  // of the pinned ones; they end at the boundary
  uint32_t hit_blocks = 0;
  std::vector<BlockKey> keys;  // of the prompt's full blocks

  bool Hit(size_t position) const {
    return position >= first_block && position - first_block < hit_blocks;
  }
};

Json ToJson(const MatchAnswer& answer, bool with_keys) {
  Json json;
  json["namespace"] = answer.namespace_name;
  json["group"] = answer.group;
  json["block_tokens"] = answer.block_tokens;
  json["prompt_tokens"] = answer.prompt_tokens;
  json["prompt_blocks"] = answer.keys.size();
  json["hit_tokens"] = answer.hit_tokens;
  json["first_block"] = answer.first_block;
  json["hit_blocks"] = answer.hit_blocks;
  if (with_keys) {
    json["keys"] = Json::array();
    for (size_t i = 0; i < answer.keys.size(); ++i) {
      json["keys"].push_back(Json{{"position", i},
                                  {"key", ToHex(answer.keys[i])},
                                  {"hit", answer.Hit(i)}});
    }
  }
  return json;
}

std::string ToText(const MatchAnswer& answer, bool with_keys) {
  const uint64_t tail =
      answer.prompt_tokens - answer.keys.size() * answer.block_tokens;
  tools::Properties properties;
  properties.Add("prompt",
                 absl::StrCat(CountText(answer.prompt_tokens), " tokens, ",
                              CountText(answer.keys.size()), " full blocks of ",
                              answer.block_tokens, ", a tail of ", tail,
                              " that is not looked up"));
  properties.Add(
      "hit",
      absl::StrCat(CountText(answer.hit_tokens), " tokens (",
                   tools::PercentText(answer.hit_tokens, answer.prompt_tokens),
                   "), ", CountText(answer.hit_blocks),
                   " blocks from position ", answer.first_block));
  std::string text = properties.Render();
  if (with_keys && !answer.keys.empty()) {
    tools::Table table({">POSITION", "KEY", "ANSWER"});
    for (size_t i = 0; i < answer.keys.size(); ++i) {
      table.AddRow({absl::StrCat(i), ToHex(answer.keys[i]),
                    answer.Hit(i) ? "hit" : "-"});
    }
    text += "\n" + table.Render();
  }
  return text;
}

class MatchVerb : public Verb {
 public:
  explicit MatchVerb(CLI::App& app)
      : Verb(app, "match", "How much of a prompt is cached") {
    AddNamespaceOption(&namespace_name_);
    command()
        .add_option("--tokens", path_,
                    "The prompt: token ids with whitespace between them; - "
                    "reads standard input")
        ->type_name("FILE")
        ->required();
    command().add_flag("--bytes", bytes_, "Every byte of the file is a token");
    command().add_option("--group", group_,
                         "Of this layer group, 0 unless "
                         "given");
    command().add_flag("--verbose", verbose_, "Print every block's key");
  }

  absl::Status Run(Context& context) override {
    absl::StatusOr<std::vector<uint32_t>> tokens = ReadTokenFile(
        path_, bytes_ ? TokenFormat::kBytes : TokenFormat::kNumbers);
    if (!tokens.ok()) return UsageError(tokens.status().message());

    AttachOptions attach;
    KVFERRY_ASSIGN_OR_RETURN(attach.spec.name,
                             context.NamespaceOrOnly(namespace_name_));
    attach.socket_path = context.options().socket;
    attach.accept_existing = true;
    attach.create = false;
    attach.publish = false;
    attach.reattach = false;
    attach.client_name = "kvferryctl match";
    attach.timeout = context.options().timeout;
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Client> client,
                             Client::Attach(attach));
    KVFERRY_ASSIGN_OR_RETURN(MatchAnswer answer, Match(*client, *tokens));
    context.Print(ToJson(answer, verbose_), ToText(answer, verbose_));
    return absl::OkStatus();
  }

 private:
  absl::StatusOr<MatchAnswer> Match(Client& client,
                                    const std::vector<uint32_t>& tokens) {
    const NamespaceInfo info = client.info();
    if (group_ >= info.spec.groups.size()) {
      return UsageError(absl::StrCat(
          "--group ", group_, ": namespace \"", info.spec.name, "\" has ",
          info.spec.groups.size(), " groups, numbered from 0"));
    }
    MatchAnswer answer;
    answer.namespace_name = info.spec.name;
    answer.group = group_;
    answer.block_tokens = info.spec.groups[group_].block_tokens;
    answer.prompt_tokens = tokens.size();
    KeyHasher hasher(info.salt, group_, answer.block_tokens);
    hasher.HashBlocks(BlockKey(), tokens, &answer.keys);
    if (answer.keys.empty()) return answer;  // shorter than a block: a miss

    PinnedPrefix prefix;
    const GroupKeys keys{group_, answer.keys};
    KVFERRY_RETURN_IF_ERROR(
        client.Match(std::span<const GroupKeys>(&keys, 1), &prefix));
    answer.hit_tokens = prefix.tokens();
    answer.first_block = prefix.first_block(group_);
    answer.hit_blocks = prefix.block_count(group_);
    return answer;
  }

  std::string namespace_name_;
  std::string path_;
  bool bytes_ = false;
  bool verbose_ = false;
  uint32_t group_ = 0;
};

}  // namespace

std::unique_ptr<Verb> MakeMatchVerb(CLI::App& app) {
  return std::make_unique<MatchVerb>(app);
}

}  // namespace kvferry::ctl
