#include "daemon/config/config_file.h"

#include <toml++/toml.h>

#include <cerrno>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"

namespace kvferry::config {
namespace {

// Reads one document. Errors carry the place that they are about.
class FileReader {
 public:
  FileReader(const std::string& path, const Machine& machine, Config* config)
      : path_(path), machine_(machine), config_(config) {}

  absl::Status Read(const toml::table& document) {
    for (const auto& [key, node] : document) {
      KVFERRY_RETURN_IF_ERROR(ReadSection(std::string(key.str()), node));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ReadSection(const std::string& section, const toml::node& node) {
    if (!KnownSection(section)) {
      return Error(node, section, "",
                   "unknown section; accepted: daemon, memory, gpu, template, "
                   "namespace");
    }
    if (section != kNamespaceSection) {
      const toml::table* table = node.as_table();
      if (table == nullptr) {
        return Error(node, section, Show(node),
                     absl::StrCat("not a section; accepted: [", section, "]"));
      }
      return ReadTable(section, *table);
    }
    const toml::array* entries = node.as_array();
    if (entries == nullptr || !entries->is_array_of_tables()) {
      return Error(node, section, Show(node),
                   "not a list of entries; accepted: [[namespace]]");
    }
    for (const toml::node& entry : *entries) {
      config_->namespaces.emplace_back();
      KVFERRY_RETURN_IF_ERROR(ReadTable(section, *entry.as_table()));
      if (config_->namespaces.back().name.empty()) {
        return Error(entry, "namespace.name", "",
                     "missing; accepted: a namespace's name");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadTable(const std::string& section, const toml::table& table) {
    for (const auto& [key, node] : table) {
      const std::string name =
          absl::StrCat(section, ".", std::string(key.str()));
      const Field* field = FindField(section, std::string(key.str()));
      if (field == nullptr) {
        return Error(node, name, Show(node),
                     absl::StrCat("unknown key; accepted: ", Keys(section)));
      }
      const absl::StatusOr<std::string> text = TextOf(node, field->forms);
      const absl::Status set =
          text.ok() ? field->set(*text, machine_, config_) : text.status();
      if (!set.ok()) {
        return Error(
            node, name, Show(node),
            absl::StrCat(set.message(), "; accepted: ", field->accepted));
      }
    }
    return absl::OkStatus();
  }

  // The value as a setter reads it.
  static absl::StatusOr<std::string> TextOf(const toml::node& node,
                                            uint8_t forms) {
    if (const auto* text = node.as_string(); text && (forms & kText) != 0) {
      return text->get();
    }
    if (const auto* number = node.as_integer();
        number && (forms & kInteger) != 0) {
      return absl::StrCat(number->get());
    }
    if (const auto* truth = node.as_boolean();
        truth && (forms & kBoolean) != 0) {
      return std::string(truth->get() ? "true" : "false");
    }
    if (const auto* list = node.as_array(); list && (forms & kList) != 0) {
      std::vector<std::string> parts;
      for (const toml::node& part : *list) {
        KVFERRY_ASSIGN_OR_RETURN(std::string text,
                                 TextOf(part, kText | kInteger));
        if (text.empty() || text.find(',') != text.npos) {
          return absl::InvalidArgumentError("an element that is no name");
        }
        parts.push_back(std::move(text));
      }
      return absl::StrJoin(parts, ",");
    }
    return absl::InvalidArgumentError("wrong type");
  }

  static bool KnownSection(absl::string_view section) {
    for (const Field& field : ConfigFields()) {
      if (section == field.section) return true;
    }
    return false;
  }

  static std::string Keys(absl::string_view section) {
    std::vector<std::string> keys;
    for (const Field& field : ConfigFields()) {
      if (section == field.section) keys.emplace_back(field.key);
    }
    return absl::StrJoin(keys, ", ");
  }

  static std::string Show(const toml::node& node) {
    std::ostringstream out;
    node.visit([&](const auto& value) {
      using Value = std::decay_t<decltype(value)>;
      if constexpr (toml::is_table<Value>) {
        out << "{...}";
      } else {
        out << value;
      }
    });
    return absl::StrCat(" = ", out.str());
  }

  absl::Status Error(const toml::node& node, absl::string_view key,
                     absl::string_view value, absl::string_view problem) {
    return absl::InvalidArgumentError(absl::StrCat(
        path_, ":", node.source().begin.line, ": ", key, value, ": ", problem));
  }

  const std::string& path_;
  const Machine& machine_;
  Config* const config_;
};

}  // namespace

absl::Status ReadConfigText(const std::string& text, const std::string& path,
                            const Machine& machine, Config* config) {
  toml::table document;
  try {
    document = toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", error.source().begin.line,
                     ": not TOML: ", std::string(error.description())));
  }
  return FileReader(path, machine, config).Read(document);
}

absl::Status ReadConfigFile(const std::string& path, const Machine& machine,
                            Config* config) {
  errno = 0;
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file),
                         std::istreambuf_iterator<char>()};
  if (!file.is_open() || file.bad()) {
    return ErrnoStatus(errno != 0 ? errno : EIO,
                       absl::StrCat("configuration file ", path));
  }
  return ReadConfigText(text, path, machine, config);
}

}  // namespace kvferry::config
