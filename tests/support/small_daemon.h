#ifndef KVFERRY_TESTS_SUPPORT_SMALL_DAEMON_H_
#define KVFERRY_TESTS_SUPPORT_SMALL_DAEMON_H_

#include <string>
#include <vector>

#include "kvferry/layout.h"
#include "tests/support/daemon_process.h"

namespace kvferry::test {

// A namespace of the smallest blocks there are.
inline NamespaceSpec SmallSpec() {
  NamespaceSpec spec;
  spec.name = "test";
  spec.groups = {OpaqueGroup(16, 4096)};
  return spec;
}

// A daemon that starts at once and depends on nothing the machine may lack.
inline DaemonProcess::Options SmallDaemon(
    const std::vector<std::string>& extra_args = {}) {
  DaemonProcess::Options options;
  options.pool_size = "16MiB";
  options.extra_args = {"--huge-pages", "off", "--lock-memory", "off"};
  options.extra_args.insert(options.extra_args.end(), extra_args.begin(),
                            extra_args.end());
  return options;
}

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_SMALL_DAEMON_H_
