#ifndef KVFERRY_BASE_SOCKET_PATH_H_
#define KVFERRY_BASE_SOCKET_PATH_H_

#include <sys/types.h>

#include <string>

namespace kvferry {

// Where the daemon listens and clients look for it when nobody says otherwise
// (the rule stands in include/kvferry/options.h), for a process with these
// surroundings: $KVFERRY_SOCKET, $XDG_RUNTIME_DIR (null: not set) and the
// effective user. An empty variable counts as not set, and so does a runtime
// directory that is not absolute.
std::string SocketPathFor(const char* socket, const char* runtime_directory,
                          uid_t user);

// SocketPathFor this process.
std::string SocketPathOfThisProcess();

}  // namespace kvferry

#endif  // KVFERRY_BASE_SOCKET_PATH_H_
