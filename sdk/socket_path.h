#ifndef KVFERRY_SDK_SOCKET_PATH_H_
#define KVFERRY_SDK_SOCKET_PATH_H_

#include <sys/types.h>

#include <string>

namespace kvferry::sdk {

// DefaultSocketPath() of a process with these surroundings: $KVFERRY_SOCKET,
// $XDG_RUNTIME_DIR (null: not set) and the effective user. An empty variable
// counts as not set, and so does a runtime directory that is not absolute.
std::string SocketPathFor(const char* socket, const char* runtime_directory,
                          uid_t user);

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_SOCKET_PATH_H_
