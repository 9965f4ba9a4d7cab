#ifndef KVFERRY_TOOLS_KVFERRYCTL_VERB_H_
#define KVFERRY_TOOLS_KVFERRYCTL_VERB_H_

#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kvferry/admin.h"
#include "tools/support/json.h"

namespace kvferry::ctl {

// What is said before or after any verb.
struct GlobalOptions {
  std::string socket;  // the default one when empty
  absl::Duration timeout = absl::Seconds(5);
  bool json = false;
};

// What a verb works with: the daemon's connection, made at first use, and
// standard output.
class Context {
 public:
  explicit Context(GlobalOptions options);

  const GlobalOptions& options() const { return options_; }

  // Errors  as AdminClient::Connect
  absl::StatusOr<AdminClient*> Admin();

  // `given`, or the only namespace there is when it is empty.
  // Errors  UsageError  several; kNotFound  none; as AdminClient::Namespaces
  absl::StatusOr<std::string> NamespaceOrOnly(const std::string& given);

  // Prints one of them: the JSON value on a line, or the text.
  void Print(const tools::Json& json, const std::string& text) const;

 private:
  GlobalOptions options_;
  std::unique_ptr<AdminClient> admin_;
};

// A failure that another command line would mend; ends with exit code 2.
absl::Status UsageError(absl::string_view message);
bool IsUsageError(const absl::Status& status);

// One verb of the command line. It declares its options on a subcommand when
// it is made, and runs after the command line was parsed.
class Verb {
 public:
  virtual ~Verb() = default;

  // Whether the command line names it.
  bool chosen() const { return command_->parsed(); }
  std::string name() const { return command_->get_name(); }

  virtual absl::Status Run(Context& context) = 0;

 protected:
  Verb(CLI::App& app, const std::string& name, const std::string& description)
      : command_(app.add_subcommand(name, description)) {}

  CLI::App& command() { return *command_; }
  // --namespace, which may be left out when there is exactly one.
  void AddNamespaceOption(std::string* target);
  // --prefix, the first hexadecimal digits of keys.
  CLI::Option* AddPrefixOption(std::string* target);

 private:
  CLI::App* const command_;
};

// One per file of this folder.
std::unique_ptr<Verb> MakeStatusVerb(CLI::App& app);
std::unique_ptr<Verb> MakeNamespacesVerb(CLI::App& app);
std::unique_ptr<Verb> MakeSessionsVerb(CLI::App& app);
std::unique_ptr<Verb> MakeBlocksVerb(CLI::App& app);
std::unique_ptr<Verb> MakeMatchVerb(CLI::App& app);
std::unique_ptr<Verb> MakeEvictVerb(CLI::App& app);
std::unique_ptr<Verb> MakeClearVerb(CLI::App& app);
std::unique_ptr<Verb> MakeGpuVerb(CLI::App& app);

}  // namespace kvferry::ctl

#endif  // KVFERRY_TOOLS_KVFERRYCTL_VERB_H_
