#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferryctl/group_option.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/command_line.h"
#include "tools/support/table.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

using tools::BytesText;
using tools::CountText;
using tools::Json;

// The geometry and the counts of group `index`, side by side.
Json GroupJson(const NamespaceStatus& status, size_t index) {
  const GroupSpec& spec = status.spec.groups[index];
  Json json;
  json["group"] = index;
  json["name"] = spec.name;
  json["block_tokens"] = spec.block_tokens;
  json["layer_count"] = spec.layer_count;
  json["kv_count"] = spec.kv_count;
  json["head_count"] = spec.head_count;
  json["head_bytes"] = spec.head_bytes;
  json["slice_count"] = spec.slice_count;
  json["rule"] = RuleText(spec);
  json["page_bytes"] = spec.page_bytes();
  if (index < status.groups.size()) {
    const GroupStatus& counts = status.groups[index];
    json["stride_bytes"] = counts.stride_bytes;
    json["blocks"] = counts.blocks;
    json["present"] = counts.present;
    json["free"] = counts.free;
    json["granted"] = counts.granted;
    json["publishing"] = counts.publishing;
    json["ready"] = counts.ready;
    json["quarantined"] = counts.quarantined;
    json["in_io"] = counts.in_io;
    json["resting"] = counts.resting;
  }
  return json;
}

Json ToJson(const std::vector<NamespaceStatus>& namespaces) {
  Json list = Json::array();
  for (const NamespaceStatus& status : namespaces) {
    Json json;
    json["id"] = status.id;
    json["name"] = status.spec.name;
    json["model"] = status.spec.model;
    json["revision"] = status.spec.revision;
    json["dtype"] = status.spec.dtype;
    json["fingerprint"] = status.fingerprint_hex;
    json["quota_bytes"] = status.quota_bytes;
    json["populated_bytes"] = status.populated_bytes;
    json["content_epoch"] = status.content_epoch;
    json["sessions"] = status.sessions;
    json["lookups"] = status.lookups;
    json["hit_blocks"] = status.hit_blocks;
    json["missed_lookups"] = status.missed_lookups;
    json["published_blocks"] = status.published_blocks;
    json["evicted_blocks"] = status.evicted_blocks;
    json["aborted_blocks"] = status.aborted_blocks;
    json["no_space"] = status.no_space;
    json["standby_blocks"] = status.standby_blocks;
    json["adopted_blocks"] = status.adopted_blocks;
    json["stalled_publications"] = status.stalled_publications;
    json["open_publications"] = status.open_publications;
    json["leases"] = status.leases;
    json["overhead_bytes_per_block"] = status.overhead_bytes_per_block;
    json["groups"] = Json::array();
    for (size_t i = 0; i < status.spec.groups.size(); ++i) {
      json["groups"].push_back(GroupJson(status, i));
    }
    list.push_back(std::move(json));
  }
  return list;
}

std::string NamespacesText(const std::vector<NamespaceStatus>& namespaces) {
  tools::Table table({"NAMESPACE", "MODEL", "DTYPE", ">SESSIONS", ">POPULATED",
                      ">QUOTA", ">LOOKUPS", ">MISSED", ">HIT BLOCKS",
                      ">EVICTED", ">LEASES"});
  for (const NamespaceStatus& status : namespaces) {
    std::string model = status.spec.model;
    if (!status.spec.revision.empty()) model += "@" + status.spec.revision;
    table.AddRow({status.spec.name, model, status.spec.dtype,
                  CountText(status.sessions), BytesText(status.populated_bytes),
                  BytesText(status.quota_bytes), CountText(status.lookups),
                  CountText(status.missed_lookups),
                  CountText(status.hit_blocks),
                  CountText(status.evicted_blocks), CountText(status.leases)});
  }
  return table.Render();
}

// What became of what was written: blocks, but for publications.
std::string PublishingText(const std::vector<NamespaceStatus>& namespaces) {
  tools::Table table({"NAMESPACE", ">PUBLICATIONS", ">STALLED", ">PUBLISHED",
                      ">ABORTED", ">STANDBY", ">ADOPTED", ">NO SPACE"});
  for (const NamespaceStatus& status : namespaces) {
    table.AddRow(
        {status.spec.name, CountText(status.open_publications),
         CountText(status.stalled_publications),
         CountText(status.published_blocks), CountText(status.aborted_blocks),
         CountText(status.standby_blocks), CountText(status.adopted_blocks),
         CountText(status.no_space)});
  }
  return table.Render();
}

std::string GroupsText(const std::vector<NamespaceStatus>& namespaces) {
  tools::Table table({"NAMESPACE", ">GROUP", "NAME", ">TOKENS", ">PAGE",
                      ">SLICES", "RULE", ">BLOCKS", ">PRESENT", ">READY",
                      ">FREE", ">GRANTED", ">PUBLISHING", ">IN I/O",
                      ">QUARANTINED", ">RESTING"});
  for (const NamespaceStatus& status : namespaces) {
    for (size_t i = 0; i < status.spec.groups.size(); ++i) {
      const GroupSpec& spec = status.spec.groups[i];
      const GroupStatus counts =
          i < status.groups.size() ? status.groups[i] : GroupStatus();
      table.AddRow({status.spec.name, absl::StrCat(i), spec.name,
                    CountText(spec.block_tokens), BytesText(spec.page_bytes()),
                    CountText(spec.slice_count), RuleText(spec),
                    CountText(counts.blocks), CountText(counts.present),
                    CountText(counts.ready), CountText(counts.free),
                    CountText(counts.granted), CountText(counts.publishing),
                    CountText(counts.in_io), CountText(counts.quarantined),
                    CountText(counts.resting)});
    }
  }
  return table.Render();
}

class NamespacesVerb : public Verb {
 public:
  explicit NamespacesVerb(CLI::App& app)
      : Verb(app, "namespaces",
             "Namespaces, their groups and counters; `create` makes one") {
    create_ = command().add_subcommand("create", "Makes a namespace");
    create_->add_option("--name", spec_.name, "Its name")->required();
    create_->add_option("--model", spec_.model, "Whose KV it holds")
        ->required();
    create_->add_option("--revision", spec_.revision, "The model's revision");
    create_->add_option("--dtype", spec_.dtype, "The type of an element")
        ->required();
    create_
        ->add_option("--group", groups_,
                     "name=full,tokens=16,layers=32,kv=2,heads=8,"
                     "head-bytes=256,slices=1,rule=all (or trailing:BLOCKS, "
                     "checkpoint); repeat it for more groups")
        ->required()
        ->type_name("FIELDS")
        ->allow_extra_args(false);
    tools::AddBytesOption(*create_, "--quota", &quota_bytes_,
                          "How much memory it may use")
        ->required();
  }

  absl::Status Run(Context& context) override {
    return create_->parsed() ? Create(context) : List(context);
  }

 private:
  absl::Status List(Context& context) {
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    KVFERRY_ASSIGN_OR_RETURN(std::vector<NamespaceStatus> namespaces,
                             admin->Namespaces());
    const std::string text =
        namespaces.empty() ? "There is no namespace.\n"
                           : absl::StrCat(NamespacesText(namespaces), "\n",
                                          PublishingText(namespaces), "\n",
                                          GroupsText(namespaces));
    context.Print(ToJson(namespaces), text);
    return absl::OkStatus();
  }

  absl::Status Create(Context& context) {
    for (const std::string& group : groups_) {
      absl::StatusOr<GroupSpec> parsed = ParseGroup(group);
      if (!parsed.ok()) return UsageError(parsed.status().message());
      spec_.groups.push_back(*std::move(parsed));
    }
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    KVFERRY_RETURN_IF_ERROR(admin->CreateNamespace(spec_, quota_bytes_));
    Json json;
    json["namespace"] = spec_.name;
    json["quota_bytes"] = quota_bytes_;
    context.Print(json, absl::StrCat("namespace ", tools::Printable(spec_.name),
                                     " made, ", BytesText(quota_bytes_), "\n"));
    return absl::OkStatus();
  }

  CLI::App* create_ = nullptr;
  NamespaceSpec spec_;
  std::vector<std::string> groups_;
  uint64_t quota_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Verb> MakeNamespacesVerb(CLI::App& app) {
  return std::make_unique<NamespacesVerb>(app);
}

}  // namespace kvferry::ctl
