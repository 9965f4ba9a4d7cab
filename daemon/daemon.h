#ifndef KVFERRY_DAEMON_DAEMON_H_
#define KVFERRY_DAEMON_DAEMON_H_

#include <memory>

#include "absl/status/statusor.h"
#include "daemon/config/config.h"

namespace kvferry {

// The daemon of a node: the only place that knows every part of it.
//
//  1. Make takes the directory, probes the machine, listens.
//  2. Run serves on the calling thread; a second thread makes segments.
//  3. After SIGTERM or SIGINT Run returns; the destructor takes the socket and
//     the shared files away. Clients keep what they have mapped.
class Daemon {
 public:
  // Blocks SIGTERM, SIGINT and SIGHUP for the process. Call it before there
  // are threads.
  // Errors  kAlreadyExists       another daemon has the directory (its pid is
  //                              named) or the socket
  //         kFailedPrecondition  the machine cannot do what is switched `on`
  //         as ErrnoStatus
  static absl::StatusOr<std::unique_ptr<Daemon>> Make(
      const config::Config& config);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  void Run();

 private:
  struct Parts;
  explicit Daemon(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts_;
};

}  // namespace kvferry

#endif  // KVFERRY_DAEMON_DAEMON_H_
