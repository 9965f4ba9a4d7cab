#ifndef KVFERRY_TOOLS_SUPPORT_EXIT_CODE_H_
#define KVFERRY_TOOLS_SUPPORT_EXIT_CODE_H_

namespace kvferry::tools {

// How every program of tools/ ends. Scripts rely on the numbers.
enum class ExitCode : int {
  kOk = 0,
  kFailed = 1,       // refused by the daemon, or found wrong
  kUsage = 2,        // the command line, or a file it names, is wrong
  kUnreachable = 3,  // no daemon answers at the socket
};

}  // namespace kvferry::tools

#endif  // KVFERRY_TOOLS_SUPPORT_EXIT_CODE_H_
