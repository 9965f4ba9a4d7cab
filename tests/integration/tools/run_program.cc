#include "tests/integration/tools/run_program.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

namespace kvferry::test {
namespace {

// Output goes to files, so that no end has to be read while the other waits.
UniqueFd MemoryFile(const std::string& content = "") {
  UniqueFd file(::memfd_create("run_program", MFD_CLOEXEC));
  if (!file.valid() || ::pwrite(file.get(), content.data(), content.size(),
                                0) != static_cast<ssize_t>(content.size())) {
    std::abort();
  }
  return file;
}

std::string Content(const UniqueFd& file) {
  std::string content;
  char buffer[4096];
  ssize_t count;
  while ((count = ::pread(file.get(), buffer, sizeof(buffer),
                          static_cast<off_t>(content.size()))) > 0) {
    content.append(buffer, static_cast<size_t>(count));
  }
  return content;
}

int WaitFor(pid_t pid) {
  int wait_status = 0;
  while (::waitpid(pid, &wait_status, 0) < 0 && errno == EINTR) {
  }
  return wait_status;
}

}  // namespace

RunningProgram::RunningProgram(std::vector<std::string> words,
                               const ProgramOptions& options)
    : in_(MemoryFile(options.input)), out_(MemoryFile()), err_(MemoryFile()) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  pid_ = ::fork();
  if (pid_ < 0) std::abort();
  if (pid_ != 0) return;
  // Async-signal-safe calls only: the test has threads.
  if (options.uid != static_cast<uid_t>(-1) && ::setuid(options.uid) != 0) {
    ::_exit(126);
  }
  if (::dup2(in_.get(), 0) < 0 || ::dup2(out_.get(), 1) < 0 ||
      ::dup2(err_.get(), 2) < 0) {
    ::_exit(126);
  }
  ::execv(argv[0], argv.data());
  ::_exit(127);
}

RunningProgram::~RunningProgram() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  WaitFor(pid_);
}

ProgramResult RunningProgram::Wait() {
  const int wait_status = WaitFor(std::exchange(pid_, -1));
  ProgramResult result;
  result.exit_code = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status)
                                              : WEXITSTATUS(wait_status);
  result.out = Content(out_);
  result.err = Content(err_);
  return result;
}

ProgramResult RunProgram(std::vector<std::string> words,
                         const ProgramOptions& options) {
  return RunningProgram(std::move(words), options).Wait();
}

}  // namespace kvferry::test
