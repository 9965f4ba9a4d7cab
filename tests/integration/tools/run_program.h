#ifndef KVFERRY_TESTS_INTEGRATION_TOOLS_RUN_PROGRAM_H_
#define KVFERRY_TESTS_INTEGRATION_TOOLS_RUN_PROGRAM_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/unique_fd.h"

namespace kvferry::test {

struct ProgramResult {
  int exit_code = -1;  // 128 + n: ended by signal n
  std::string out;
  std::string err;
};

struct ProgramOptions {
  std::string input = {};  // its standard input
  // The user it runs as; only root can choose another.
  uid_t uid = static_cast<uid_t>(-1);
};

// A program that runs beside the test. What has not ended is killed with the
// object.
class RunningProgram {
 public:
  RunningProgram(std::vector<std::string> words, const ProgramOptions& options);
  ~RunningProgram();
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;

  pid_t pid() const { return pid_; }
  // Waits for its end. Once.
  ProgramResult Wait();

 private:
  UniqueFd in_;
  UniqueFd out_;
  UniqueFd err_;
  pid_t pid_ = -1;  // -1: ended and waited for
};

// Runs a program to its end.
ProgramResult RunProgram(std::vector<std::string> words,
                         const ProgramOptions& options = {});

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_TOOLS_RUN_PROGRAM_H_
