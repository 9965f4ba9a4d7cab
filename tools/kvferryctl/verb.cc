#include "tools/kvferryctl/verb.h"

#include <cstdio>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "kvferry/options.h"

namespace kvferry::ctl {
namespace {

constexpr char kUsagePayload[] = "kvferry/usage";
constexpr size_t kKeyDigits = 32;

std::string CheckPrefix(const std::string& digits) {
  if (digits.size() > kKeyDigits) {
    return absl::StrCat("\"", digits, "\" has ", digits.size(),
                        " digits; a key has ", kKeyDigits);
  }
  for (const char c : digits) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) {
      return absl::StrCat("\"", digits,
                          "\" is not the start of a key: hexadecimal digits "
                          "only");
    }
  }
  return "";
}

}  // namespace

absl::Status UsageError(absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kUsagePayload, absl::Cord());
  return status;
}

bool IsUsageError(const absl::Status& status) {
  return status.GetPayload(kUsagePayload).has_value();
}

Context::Context(GlobalOptions options) : options_(std::move(options)) {
  if (options_.socket.empty()) options_.socket = DefaultSocketPath();
}

absl::StatusOr<AdminClient*> Context::Admin() {
  if (admin_ == nullptr) {
    KVFERRY_ASSIGN_OR_RETURN(
        admin_, AdminClient::Connect(options_.socket, options_.timeout));
  }
  return admin_.get();
}

absl::StatusOr<std::string> Context::NamespaceOrOnly(const std::string& given) {
  if (!given.empty()) return given;
  KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, Admin());
  KVFERRY_ASSIGN_OR_RETURN(std::vector<NamespaceStatus> namespaces,
                           admin->Namespaces());
  if (namespaces.empty()) {
    return absl::NotFoundError(
        "the daemon has no namespace yet; an engine that attaches makes one, "
        "or `kvferryctl namespaces create`");
  }
  if (namespaces.size() > 1) {
    return UsageError(absl::StrCat(
        "there are ", namespaces.size(),
        " namespaces; choose with --namespace "
        "one of ",
        absl::StrJoin(namespaces, ", ",
                      [](std::string* out, const NamespaceStatus& status) {
                        absl::StrAppend(out, "\"", status.spec.name, "\"");
                      })));
  }
  return namespaces[0].spec.name;
}

void Context::Print(const tools::Json& json, const std::string& text) const {
  if (options_.json) {
    std::printf("%s\n", tools::JsonText(json).c_str());
  } else {
    std::fputs(text.c_str(), stdout);
  }
}

void Verb::AddNamespaceOption(std::string* target) {
  command_
      ->add_option("--namespace", *target,
                   "Of this namespace; may be left out when there is exactly "
                   "one")
      ->type_name("NAME");
}

CLI::Option* Verb::AddPrefixOption(std::string* target) {
  return command_
      ->add_option("--prefix", *target,
                   "Blocks whose key begins with these hexadecimal digits")
      ->type_name("HEX")
      ->check(CLI::Validator(CheckPrefix, "", "prefix"));
}

}  // namespace kvferry::ctl
