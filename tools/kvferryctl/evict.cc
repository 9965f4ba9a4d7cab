#include <limits>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

class EvictVerb : public Verb {
 public:
  explicit EvictVerb(CLI::App& app)
      : Verb(app, "evict",
             "Drops blocks by the start of their key, or the coldest; pinned "
             "ones stay") {
    AddNamespaceOption(&namespace_name_);
    prefix_option_ = AddPrefixOption(&prefix_);
    limit_option_ =
        command()
            .add_option("--limit", limit_,
                        "At most so many; needed when no --prefix is given")
            ->check(
                CLI::Range(uint32_t{1}, std::numeric_limits<uint32_t>::max()));
  }

  absl::Status Run(Context& context) override {
    if (prefix_option_->count() == 0 && limit_option_->count() == 0) {
      return UsageError(
          "say which blocks: --prefix HEX, or --limit N for the N coldest; "
          "`kvferryctl clear` drops all of a namespace");
    }
    KVFERRY_ASSIGN_OR_RETURN(const std::string name,
                             context.NamespaceOrOnly(namespace_name_));
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    KVFERRY_ASSIGN_OR_RETURN(EvictResult result,
                             admin->Evict(name, prefix_, limit_));
    tools::Json json;
    json["namespace"] = name;
    json["evicted"] = result.evicted;
    json["pinned"] = result.pinned;
    context.Print(
        json, absl::StrCat(tools::CountText(result.evicted),
                           " blocks evicted, ", tools::CountText(result.pinned),
                           " kept because they are pinned\n"));
    return absl::OkStatus();
  }

 private:
  std::string namespace_name_;
  std::string prefix_;
  uint32_t limit_ = std::numeric_limits<uint32_t>::max();
  CLI::Option* prefix_option_ = nullptr;
  CLI::Option* limit_option_ = nullptr;
};

}  // namespace

std::unique_ptr<Verb> MakeEvictVerb(CLI::App& app) {
  return std::make_unique<EvictVerb>(app);
}

}  // namespace kvferry::ctl
