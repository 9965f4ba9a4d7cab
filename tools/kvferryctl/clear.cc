#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

class ClearVerb : public Verb {
 public:
  explicit ClearVerb(CLI::App& app)
      : Verb(app, "clear",
             "Makes every block of a namespace a miss from now on") {
    AddNamespaceOption(&namespace_name_);
  }

  absl::Status Run(Context& context) override {
    KVFERRY_ASSIGN_OR_RETURN(const std::string name,
                             context.NamespaceOrOnly(namespace_name_));
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    KVFERRY_ASSIGN_OR_RETURN(ClearResult result, admin->Clear(name));
    tools::Json json;
    json["namespace"] = name;
    json["blocks"] = result.blocks;
    json["content_epoch"] = result.content_epoch;
    context.Print(json, absl::StrCat(tools::CountText(result.blocks),
                                     " blocks cleared, content epoch ",
                                     result.content_epoch, "\n"));
    return absl::OkStatus();
  }

 private:
  std::string namespace_name_;
};

}  // namespace

std::unique_ptr<Verb> MakeClearVerb(CLI::App& app) {
  return std::make_unique<ClearVerb>(app);
}

}  // namespace kvferry::ctl
