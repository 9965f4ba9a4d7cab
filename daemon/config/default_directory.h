#ifndef KVFERRY_DAEMON_CONFIG_DEFAULT_DIRECTORY_H_
#define KVFERRY_DAEMON_CONFIG_DEFAULT_DIRECTORY_H_

#include <string>

namespace kvferry::config {

// Where the shared files go when nobody says: beside the socket
// (".../kvferryd.sock" has ".../kvferryd.d") when its folder, or the first
// ancestor of it that exists, is on tmpfs; else /dev/shm/kvferry-UID, since
// shared pages of a disk's file system are written back to the disk.
std::string DefaultDirectory(const std::string& socket);

// Whether `path`, or its first ancestor that exists, lies on tmpfs.
bool IsOnTmpfs(const std::string& path);

}  // namespace kvferry::config

#endif  // KVFERRY_DAEMON_CONFIG_DEFAULT_DIRECTORY_H_
