#include "base/status.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/kvferryctl/gpu_text.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/table.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

using tools::BytesText;
using tools::CountText;
using tools::DurationText;
using tools::Json;

Json ToJson(const DaemonStatus& status, const std::vector<GpuStatus>& gpus) {
  Json json;
  json["version"] = status.version;
  json["pid"] = status.pid;
  json["epoch"] = status.epoch;
  json["uptime_ms"] = tools::JsonMs(status.uptime);
  json["socket"] = status.socket;
  json["directory"] = status.directory;
  json["pool_bytes"] = status.pool_bytes;
  json["used_bytes"] = status.used_bytes;
  json["memory_locked"] = status.memory_locked;
  json["memory_note"] = status.memory_note;
  json["huge_pages"] = status.huge_pages;
  json["read_only_note"] = status.read_only_note;
  json["namespace_count"] = status.namespace_count;
  json["session_count"] = status.session_count;
  json["loop_iterations"] = status.loop_iterations;
  json["loop_max_us"] = absl::ToInt64Microseconds(status.loop_max);
  json["doorbells"] = status.doorbells;
  json["sessions_refused"] = status.sessions_refused;
  json["sessions_closed_for_cause"] = status.sessions_closed_for_cause;
  json["gpus"] = Json::array();
  for (const GpuStatus& gpu : gpus) {
    Json one;
    one["device"] = gpu.device;
    one["uuid"] = gpu.uuid;
    one["configured_as"] = gpu.configured_as;
    one["emulated"] = gpu.emulated;
    one["state"] = gpu.state;
    one["reason"] = gpu.reason;
    one["pool_bytes"] = gpu.pool_bytes;
    one["used_bytes"] = gpu.used_bytes;
    json["gpus"].push_back(std::move(one));
  }
  return json;
}

std::string ToText(const DaemonStatus& status,
                   const std::vector<GpuStatus>& gpus) {
  tools::Properties table;
  table.Add("daemon", absl::StrCat("kvferryd ", status.version, ", pid ",
                                   status.pid, ", epoch ", status.epoch,
                                   ", up ", DurationText(status.uptime)));
  table.Add("socket", status.socket);
  table.Add("directory", status.directory);
  table.Add("pool",
            absl::StrCat(
                BytesText(status.used_bytes), " of ",
                BytesText(status.pool_bytes), " in namespaces (",
                tools::PercentText(status.used_bytes, status.pool_bytes), ")"));
  table.Add("memory",
            absl::StrCat(status.memory_locked ? "locked" : "not locked", ", ",
                         status.huge_pages ? "2 MiB pages" : "4 KiB pages"));
  if (!status.memory_note.empty()) table.Add("", status.memory_note);
  table.Add("read-only", status.read_only_note);
  for (const GpuStatus& gpu : gpus) {
    table.Add(absl::StrCat("gpu ", gpu.device), GpuLine(gpu));
  }
  table.Add("namespaces", CountText(status.namespace_count));
  table.Add("sessions",
            absl::StrCat(CountText(status.session_count), " attached, ",
                         CountText(status.sessions_refused), " refused, ",
                         CountText(status.sessions_closed_for_cause),
                         " closed for cause"));
  table.Add("event loop",
            absl::StrCat(CountText(status.loop_iterations), " turns, slowest ",
                         DurationText(status.loop_max), ", ",
                         CountText(status.doorbells), " doorbells"));
  return table.Render();
}

class StatusVerb : public Verb {
 public:
  explicit StatusVerb(CLI::App& app)
      : Verb(app, "status", "The daemon: memory, GPUs, sessions, event loop") {}

  absl::Status Run(Context& context) override {
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    KVFERRY_ASSIGN_OR_RETURN(DaemonStatus status, admin->Status());
    KVFERRY_ASSIGN_OR_RETURN(const std::vector<GpuStatus> gpus, admin->Gpus());
    context.Print(ToJson(status, gpus), ToText(status, gpus));
    return absl::OkStatus();
  }
};

}  // namespace

std::unique_ptr<Verb> MakeStatusVerb(CLI::App& app) {
  return std::make_unique<StatusVerb>(app);
}

}  // namespace kvferry::ctl
