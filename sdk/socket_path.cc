#include "sdk/socket_path.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "kvferry/options.h"

namespace kvferry {
namespace sdk {

std::string SocketPathFor(const char* socket, const char* runtime_directory,
                          uid_t user) {
  if (socket != nullptr && socket[0] != '\0') return socket;
  if (user == 0) return "/run/kvferry/kvferryd.sock";
  if (runtime_directory != nullptr && runtime_directory[0] == '/') {
    return absl::StrCat(runtime_directory, "/kvferry/kvferryd.sock");
  }
  return absl::StrCat("/tmp/kvferry-", user, "/kvferryd.sock");
}

}  // namespace sdk

std::string DefaultSocketPath() {
  // A program with more rights than its caller must not let the caller say
  // whom it talks to.
  return sdk::SocketPathFor(::secure_getenv("KVFERRY_SOCKET"),
                            ::secure_getenv("XDG_RUNTIME_DIR"), ::geteuid());
}

}  // namespace kvferry
