#include "daemon/config/config_fields.h"

#include <sys/un.h>

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/config/config_gpu_fields.h"
#include "daemon/config/field_setters.h"
#include "daemon/config/principals.h"
#include "daemon/config/size.h"
#include "protocol/limits.h"

namespace kvferry::config {
namespace {

constexpr int64_t kSpinUsMax = 1000 * 1000;
constexpr int kNumaNodeMax = 1023;
constexpr uint64_t kPoolBytesMin = uint64_t{1} << 20;
constexpr uint64_t kSegmentBytesMin = uint64_t{2} << 20;
constexpr size_t kSocketPathBytesMax = sizeof(sockaddr_un::sun_path) - 1;

constexpr Choice<Toggle> kToggles[] = {
    {"auto", Toggle::kAuto}, {"on", Toggle::kOn}, {"off", Toggle::kOff}};
constexpr Choice<LogLevel> kLogLevels[] = {{"trace", LogLevel::kTrace},
                                           {"debug", LogLevel::kDebug},
                                           {"info", LogLevel::kInfo},
                                           {"warning", LogLevel::kWarning},
                                           {"error", LogLevel::kError}};
constexpr Choice<bool> kBooleans[] = {{"true", true}, {"false", false}};

absl::Status SetSocket(absl::string_view text, const Machine&, Config* config) {
  if (text.size() > kSocketPathBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a path of ", text.size(),
                                                   " bytes, the limit is ",
                                                   kSocketPathBytesMax));
  }
  return SetPath(text, &config->socket);
}

absl::Status SetDirectory(absl::string_view text, const Machine&,
                          Config* config) {
  return SetPath(text, &config->directory);
}

absl::Status SetSpin(absl::string_view text, const Machine&, Config* config) {
  int64_t spin_us = 0;
  if (text == "max") {
    spin_us = kSpinForever;
  } else if (!absl::SimpleAtoi(text, &spin_us)) {
    return absl::InvalidArgumentError("not a number");
  }
  if (spin_us < kSpinForever || spin_us > kSpinUsMax) {
    return absl::InvalidArgumentError("out of range");
  }
  config->spin_us = spin_us;
  return absl::OkStatus();
}

absl::Status SetNumaNode(absl::string_view text, const Machine&,
                         Config* config) {
  int node = kNumaAuto;
  if (text != "auto" &&
      (!absl::SimpleAtoi(text, &node) || node < 0 || node > kNumaNodeMax)) {
    return absl::InvalidArgumentError("not a node");
  }
  config->numa_node = node;
  return absl::OkStatus();
}

absl::Status SetSegmentSize(absl::string_view text, const Machine& machine,
                            Config* config) {
  if (text == "auto") {
    config->segment_size_bytes = 0;
    return absl::OkStatus();
  }
  return SetSize(text, machine, kSegmentBytesMin, protocol::kSegmentBytesMax,
                 &config->segment_size_bytes);
}

absl::Status SetQuota(absl::string_view text, const Machine& machine,
                      Config* config) {
  if (text == "rest") {
    config->namespace_quota_bytes = 0;
    return absl::OkStatus();
  }
  return SetSize(text, machine, protocol::kBlockBytesMin, INT64_MAX,
                 &config->namespace_quota_bytes);
}

absl::Status SetAccess(absl::string_view text, AccessList* list) {
  KVFERRY_ASSIGN_OR_RETURN(*list, ParsePrincipals(text));
  return absl::OkStatus();
}

absl::Status SetName(absl::string_view text, const Machine&, Config* config) {
  if (text.empty() || text.size() > protocol::kNamespaceNameBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a name of ", text.size(), " bytes, the limits are 1 and ",
                     protocol::kNamespaceNameBytesMax));
  }
  const bool taken = std::any_of(
      config->namespaces.begin(), config->namespaces.end() - 1,
      [&](const NamespaceAccess& other) { return other.name == text; });
  if (taken) {
    return absl::InvalidArgumentError("a second entry of this name");
  }
  config->namespaces.back().name = std::string(text);
  return absl::OkStatus();
}

std::vector<Field> DaemonAndMemoryFields() {
  const std::string toggles = "auto, on or off";
  const std::string path = "an absolute path";
  return {
      {"daemon", "socket", "socket", kText,
       "$KVFERRY_SOCKET, or kvferry/kvferryd.sock in the runtime directory",
       absl::StrCat(path, " of at most ", kSocketPathBytesMax, " bytes"),
       "Where clients connect. Its folder is made when missing.", SetSocket},
      {"daemon", "directory", "directory", kText,
       "beside the socket when that is on tmpfs, else /dev/shm/kvferry-UID",
       path,
       "Files that clients share with the daemon. Should be on tmpfs; one "
       "daemon at a time uses it.",
       SetDirectory},
      {"daemon", "spin_us", "spin-us", kInteger | kText, "20",
       absl::StrCat("microseconds from 0 to ", kSpinUsMax,
                    ", or \"max\" (-1): never sleep"),
       "How long the daemon polls after its last work before it sleeps.",
       SetSpin},
      {"daemon", "log_level", "log-level", kText, "info",
       "trace, debug, info, warning or error",
       "What is written to standard error.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetChoice(text, kLogLevels, &config->log_level);
       }},

      {"memory", "pool_size", "pool-size", kText | kInteger,
       "a quarter of the memory, at most 8GiB", kSizeSyntax,
       "Memory for blocks, shared by all namespaces.",
       [](absl::string_view text, const Machine& machine, Config* config) {
         return SetSize(text, machine, kPoolBytesMin, INT64_MAX,
                        &config->pool_size_bytes);
       }},
      {"memory", "huge_pages", "huge-pages", kText, "auto", toggles,
       "Pages of 2 MiB for segments: auto takes them while there are any, on "
       "fails without.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetChoice(text, kToggles, &config->huge_pages);
       }},
      {"memory", "lock", "lock-memory", kText, "auto", toggles,
       "Keeps segments from being swapped out: auto where it is permitted, on "
       "fails where it is not.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetChoice(text, kToggles, &config->lock);
       }},
      {"memory", "numa_node", "numa-node", kText | kInteger, "auto",
       absl::StrCat("auto, or a node from 0 to ", kNumaNodeMax),
       "The NUMA node that segments are bound to; auto: the kernel chooses.",
       SetNumaNode},
      {"memory", "segment_size", "segment-size", kText | kInteger, "auto",
       absl::StrCat("auto, or a size from ", FormatSize(kSegmentBytesMin),
                    " to ", FormatSize(protocol::kSegmentBytesMax)),
       "Largest piece of memory made at once. Auto: an eighth of the "
       "namespace's quota, between 64MiB and 1GiB.",
       SetSegmentSize},
  };
}

std::vector<Field> NamespaceFields() {
  return {
      {"template", "allow_create", "allow-create", kBoolean, "true",
       "true or false", "Whether attaching makes a namespace that is missing.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetChoice(text, kBooleans, &config->allow_create);
       }},
      {"template", "quota", "namespace-quota", kText | kInteger, "rest",
       absl::StrCat("rest (of the pool), or ", kSizeSyntax),
       "Memory of a namespace that is made by attaching.", SetQuota},
      {"template", "allow_read", "allow-read", kList, "[]", kPrincipalsSyntax,
       "Who may read namespaces without an entry of their own, beside the "
       "daemon's user and root.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetAccess(text, &config->default_read);
       }},
      {"template", "allow_publish", "allow-publish", kList, "[]",
       kPrincipalsSyntax,
       "Who may make, read and publish into namespaces without an entry of "
       "their own.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetAccess(text, &config->default_publish);
       }},

      {kNamespaceSection, "name", nullptr, kText, "", "a namespace's name",
       "Which namespace this entry is about.", SetName},
      {kNamespaceSection, "allow_read", nullptr, kList, "[]", kPrincipalsSyntax,
       "Who may read it.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetAccess(text, &config->namespaces.back().read);
       }},
      {kNamespaceSection, "allow_publish", nullptr, kList, "[]",
       kPrincipalsSyntax, "Who may make it, read it and publish into it.",
       [](absl::string_view text, const Machine&, Config* config) {
         return SetAccess(text, &config->namespaces.back().publish);
       }},
  };
}

std::vector<Field> MakeFields() {
  std::vector<Field> fields = DaemonAndMemoryFields();
  for (std::vector<Field> more : {GpuFields(), NamespaceFields()}) {
    std::move(more.begin(), more.end(), std::back_inserter(fields));
  }
  return fields;
}

}  // namespace

std::span<const Field> ConfigFields() {
  static const std::vector<Field>* const kFields =
      new std::vector<Field>(MakeFields());
  return *kFields;
}

const Field* FindField(absl::string_view section, absl::string_view key) {
  for (const Field& field : ConfigFields()) {
    if (section == field.section && key == field.key) return &field;
  }
  return nullptr;
}

std::string DescribeFields() {
  std::string text =
      "Configuration of kvferryd (TOML). Flags win over the file. Every value "
      "is read once, at the start.\n";
  absl::string_view section;
  for (const Field& field : ConfigFields()) {
    if (section != field.section) {
      section = field.section;
      const bool repeated = section == kNamespaceSection;
      absl::StrAppend(&text, "\n", repeated ? "[[" : "[", section,
                      repeated ? "]]" : "]", "\n");
    }
    absl::StrAppend(&text, "  ", field.key);
    if (field.flag != nullptr) absl::StrAppend(&text, "  (--", field.flag, ")");
    absl::StrAppend(&text, "\n      ", field.effect,
                    "\n      accepted: ", field.accepted);
    if (field.default_text[0] != '\0') {
      absl::StrAppend(&text, "\n      default:  ", field.default_text);
    }
    absl::StrAppend(&text, "\n");
  }
  return text;
}

}  // namespace kvferry::config
