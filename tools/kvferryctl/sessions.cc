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

Json ToJson(const std::vector<SessionInfo>& sessions) {
  Json list = Json::array();
  for (const SessionInfo& session : sessions) {
    Json json;
    json["session"] = session.session;
    json["namespace"] = session.namespace_name;
    json["client"] = session.client_name;
    json["pid"] = session.pid;
    json["uid"] = session.uid;
    json["publish"] = session.publish;
    json["granted"] = session.granted;
    json["publications"] = session.publications;
    json["pinned_blocks"] = session.pinned_blocks;
    json["matches"] = session.matches;
    json["hit_blocks"] = session.hit_blocks;
    json["age_ms"] = tools::JsonMs(session.age);
    json["gpu"] = session.gpu < 0 ? Json(nullptr) : Json(session.gpu);
    list.push_back(std::move(json));
  }
  return list;
}

std::string ToText(const std::vector<SessionInfo>& sessions) {
  if (sessions.empty()) return "No session is attached.\n";
  tools::Table table({"NAMESPACE", ">SESSION", "CLIENT", ">PID", ">UID",
                      "ACCESS", ">AGE", ">MATCHES", ">HIT BLOCKS", ">PINNED",
                      ">GRANTED", ">PUBLICATIONS", ">GPU"});
  for (const SessionInfo& session : sessions) {
    table.AddRow(
        {session.namespace_name, absl::StrCat(session.session),
         session.client_name, absl::StrCat(session.pid),
         absl::StrCat(session.uid), session.publish ? "publish" : "read",
         tools::DurationText(session.age), CountText(session.matches),
         CountText(session.hit_blocks), CountText(session.pinned_blocks),
         CountText(session.granted), CountText(session.publications),
         session.gpu < 0 ? "-" : absl::StrCat(session.gpu)});
  }
  return table.Render();
}

class SessionsVerb : public Verb {
 public:
  explicit SessionsVerb(CLI::App& app)
      : Verb(app, "sessions", "Attached clients and what they hold") {}

  absl::Status Run(Context& context) override {
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    KVFERRY_ASSIGN_OR_RETURN(std::vector<SessionInfo> sessions,
                             admin->Sessions());
    context.Print(ToJson(sessions), ToText(sessions));
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Verb> MakeSessionsVerb(CLI::App& app) {
  return std::make_unique<SessionsVerb>(app);
}

}  // namespace kvferry::ctl
