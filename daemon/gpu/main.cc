#include <fcntl.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "daemon/gpu/gpu_worker.h"
#include "daemon/worker/process.h"
#include "gpu/device.h"
#include "protocol/gpu_name.h"

// kvferry-gpu: holds blocks in one GPU's memory for kvferryd, which starts it.
//
// Exit codes  0  told to end, or the daemon is gone
//             1  the device cannot be used, or broke (the daemon knows why)
//             2  not started by kvferryd
namespace kvferry {
namespace {

constexpr int kCannotServe = 1;
constexpr int kNotStartedByDaemon = 2;

struct Arguments {
  std::string device;
  int fd = -1;
  pid_t daemon = 0;
  gpu::EmulatedOptions emulated;
};

int Parse(int argc, char** argv, Arguments* arguments) {
  CLI::App app(
      "Holds KV blocks in one GPU's memory. Started by kvferryd, one a device "
      "of its gpu.devices; not by hand.",
      "kvferry-gpu");
  app.set_version_flag("--version", KVFERRY_VERSION);
  app.add_option("--device", arguments->device, protocol::kGpuNameSyntax)
      ->required();
  app.add_option("--fd", arguments->fd, "The socket that it talks over")
      ->required();
  app.add_option("--daemon", arguments->daemon, "The daemon's process id")
      ->required();
  app.add_option("--directory", arguments->emulated.directory,
                 "Emulated device: where it keeps memory files");
  app.add_option("--emulated-bytes", arguments->emulated.total_bytes,
                 "Emulated device: how much memory it has");
  app.add_option("--emulated-delay-us", arguments->emulated.delay_us,
                 "Emulated device: how long each piece of work takes");
  app.add_option("--emulated-missing", arguments->emulated.missing,
                 "Emulated device: a capability that it lacks")
      ->allow_extra_args(false);
  // What a wrapper adds to what the daemon says wins.
  for (CLI::Option* option : app.get_options()) {
    if (option->get_name() == "--emulated-missing") continue;
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }
  CLI11_PARSE(app, argc, argv);
  return 0;
}

// The socket, and not for children of a driver's.
absl::StatusOr<UniqueFd> TakeSocket(int fd) {
  struct stat found {};
  if (::fstat(fd, &found) != 0 || !S_ISSOCK(found.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("descriptor ", fd, " is no socket: kvferryd starts it"));
  }
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
    return ErrnoStatus(errno, "fcntl");
  }
  return UniqueFd(fd);
}

// The emulated device's files, of which a killed predecessor may have left
// some.
absl::Status PrepareDirectory(const std::string& directory) {
  if (directory.empty()) return absl::OkStatus();
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (::mkdir(directory.c_str(), 0700) != 0) {
    return ErrnoStatus(errno, absl::StrCat("make ", directory));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<gpu::Device>> Open(const Arguments& arguments) {
  KVFERRY_ASSIGN_OR_RETURN(const protocol::GpuName name,
                           protocol::ParseGpuName(arguments.device));
  if (name.emulated) {
    KVFERRY_RETURN_IF_ERROR(PrepareDirectory(arguments.emulated.directory));
  }
  return gpu::OpenDevice(arguments.device, arguments.emulated);
}

absl::Status Serve(const Arguments& arguments, UniqueFd socket) {
  absl::StatusOr<std::unique_ptr<gpu::Device>> device = Open(arguments);
  if (!device.ok()) {
    (void)gpu_worker::SayUnusable(socket.get(), device.status());
    return device.status();
  }
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<gpu_worker::GpuWorker> worker,
      gpu_worker::GpuWorker::Make(device->get(), std::move(socket)));
  return worker->Run();
}

int Main(int argc, char** argv) {
  Arguments arguments;
  if (const int code = Parse(argc, argv, &arguments); code != 0) return code;
  if (arguments.fd < 0) return 0;  // help, version
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "kvferry-gpu", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_pattern(absl::StrCat("%Y-%m-%dT%H:%M:%S.%e %l kvferry-gpu ",
                                   arguments.device, ": %v"));
  const absl::Status ready = worker::BecomeWorker(arguments.daemon);
  absl::StatusOr<UniqueFd> socket = TakeSocket(arguments.fd);
  if (!ready.ok() || !socket.ok()) {
    const absl::Status& why = ready.ok() ? socket.status() : ready;
    std::fprintf(stderr, "kvferry-gpu: %s\n",
                 std::string(why.message()).c_str());
    return kNotStartedByDaemon;
  }
  const absl::Status served = Serve(arguments, *std::move(socket));
  if (!served.ok()) {
    spdlog::error("{}", std::string(served.message()));
    return kCannotServe;
  }
  return 0;
}

}  // namespace
}  // namespace kvferry

int main(int argc, char** argv) { return kvferry::Main(argc, argv); }
