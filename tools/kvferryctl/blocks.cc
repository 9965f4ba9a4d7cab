#include <cstdio>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/table.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

using tools::CountText;
using tools::Json;

// One answer of the daemon holds little more; a longer prefix names fewer
// blocks.
constexpr uint32_t kLimitMax = 200;

Json ToJson(const std::vector<BlockInfo>& blocks) {
  Json list = Json::array();
  for (const BlockInfo& block : blocks) {
    Json json;
    json["key"] = ToHex(block.key);
    json["group"] = block.group;
    json["block"] = block.block;
    json["generation"] = block.generation;
    json["state"] = block.state;
    json["parent"] =
        block.parent.is_none() ? Json(nullptr) : Json(ToHex(block.parent));
    json["children"] = block.children;
    json["pins"] = block.pins;
    json["last_use_ms_ago"] = tools::JsonMs(block.last_use_ago);
    json["bytes"] = block.bytes;
    json["gpu"] = nullptr;
    if (block.gpu_pool != 0) {
      Json gpu;
      gpu["pool"] = block.gpu_pool;
      gpu["block"] = block.gpu_block;
      gpu["state"] = block.gpu_state;
      gpu["pins"] = block.gpu_pins;
      json["gpu"] = std::move(gpu);
    }
    list.push_back(std::move(json));
  }
  return list;
}

// "pool 1, block 70, ready", or "-" for a block that is in the host alone.
std::string GpuText(const BlockInfo& block) {
  if (block.gpu_pool == 0) return "-";
  return absl::StrCat("pool ", block.gpu_pool, ", block ", block.gpu_block,
                      ", ", block.gpu_state);
}

std::string ToText(const std::vector<BlockInfo>& blocks) {
  if (blocks.empty()) return "No such block.\n";
  tools::Table table({"KEY", ">GROUP", ">BLOCK", ">GENERATION", "STATE",
                      ">PINS", ">LAST USE", ">SIZE", "GPU", ">GPU PINS",
                      ">CHILDREN", "PARENT"});
  for (const BlockInfo& block : blocks) {
    table.AddRow({ToHex(block.key), absl::StrCat(block.group),
                  absl::StrCat(block.block), absl::StrCat(block.generation),
                  block.state, CountText(block.pins),
                  tools::DurationText(block.last_use_ago) + " ago",
                  tools::BytesText(block.bytes), GpuText(block),
                  block.gpu_pool == 0 ? "-" : CountText(block.gpu_pins),
                  CountText(block.children),
                  block.parent.is_none() ? "-" : ToHex(block.parent)});
  }
  return table.Render();
}

class BlocksVerb : public Verb {
 public:
  explicit BlocksVerb(CLI::App& app)
      : Verb(app, "blocks",
             "Blocks of a namespace, by the start of their key") {
    AddNamespaceOption(&namespace_name_);
    AddPrefixOption(&prefix_);
    command()
        .add_option("--limit", limit_, "At most so many, 100 unless given")
        ->check(CLI::Range(uint32_t{1}, kLimitMax));
  }

  absl::Status Run(Context& context) override {
    KVFERRY_ASSIGN_OR_RETURN(const std::string name,
                             context.NamespaceOrOnly(namespace_name_));
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    // One more than shown tells whether there are more.
    KVFERRY_ASSIGN_OR_RETURN(std::vector<BlockInfo> blocks,
                             admin->Blocks(name, prefix_, limit_ + 1));
    const bool more = blocks.size() > limit_;
    if (more) blocks.resize(limit_);
    context.Print(ToJson(blocks), ToText(blocks));
    if (more) {
      std::fflush(stdout);
      std::fprintf(stderr,
                   "kvferryctl blocks: there are more than these %u; lengthen "
                   "--prefix to see others\n",
                   limit_);
    }
    return absl::OkStatus();
  }

 private:
  std::string namespace_name_;
  std::string prefix_;
  uint32_t limit_ = 100;
};

}  // namespace

std::unique_ptr<Verb> MakeBlocksVerb(CLI::App& app) {
  return std::make_unique<BlocksVerb>(app);
}

}  // namespace kvferry::ctl
