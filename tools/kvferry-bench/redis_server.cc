#include "tools/kvferry-bench/redis_server.h"

#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"

namespace kvferry::bench {
namespace {

namespace fs = std::filesystem;

constexpr absl::Duration kStartTimeout = absl::Seconds(10);
constexpr absl::Duration kPollInterval = absl::Milliseconds(5);

struct FreeReply {
  void operator()(redisReply* reply) const { ::freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

absl::StatusOr<std::string> FindProgram() {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin" : path);
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    std::string program = folder + "/redis-server";
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  return absl::NotFoundError("no redis-server in $PATH");
}

// Between fork and exec: only async-signal-safe calls.
[[noreturn]] void ExecServer(char* const* argv, int cpu, pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int null = ::open("/dev/null", O_RDWR);
  if (::getppid() != parent || null < 0) ::_exit(127);
  for (int fd = 0; fd <= 2; ++fd) ::dup2(null, fd);
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<size_t>(cpu), &set);
    ::sched_setaffinity(0, sizeof(set), &set);
  }
  ::execv(argv[0], argv);
  ::_exit(127);
}

std::string VersionOf(redisContext* context) {
  const Reply reply(
      static_cast<redisReply*>(::redisCommand(context, "INFO server")));
  const std::string mark = "redis_version:";
  if (reply == nullptr || reply->type != REDIS_REPLY_STRING) return "";
  const std::string text(reply->str, reply->len);
  const size_t at = text.find(mark);
  if (at == std::string::npos) return "";
  const size_t start = at + mark.size();
  return text.substr(start, text.find_first_of("\r\n", start) - start);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RedisServer>> RedisServer::Start(int cpu) {
  KVFERRY_ASSIGN_OR_RETURN(std::string program, FindProgram());
  std::unique_ptr<RedisServer> server(new RedisServer);
  std::error_code error;
  const fs::path base = fs::temp_directory_path(error);
  if (error) return ErrnoStatus(error.value(), "the temporary directory");
  std::string directory = (base / "kvferry-redis-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) {
    return ErrnoStatus(errno, absl::StrCat("mkdtemp ", directory));
  }
  server->directory_ = directory;
  const std::string socket = directory + "/redis.sock";

  std::vector<std::string> words = {
      program,  "--port",       "0",  "--unixsocket", socket, "--save",
      "",       "--appendonly", "no", "--daemonize",  "no",   "--dir",
      directory};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  server->pid_ = ::fork();
  if (server->pid_ < 0) return ErrnoStatus(errno, "fork");
  if (server->pid_ == 0) ExecServer(argv.data(), cpu, parent);
  KVFERRY_RETURN_IF_ERROR(server->AwaitAnswer(socket));
  server->version_ = VersionOf(server->context_);
  return server;
}

absl::Status RedisServer::AwaitAnswer(const std::string& socket) {
  const absl::Time deadline = absl::Now() + kStartTimeout;
  while (absl::Now() < deadline) {
    context_ = ::redisConnectUnix(socket.c_str());
    if (context_ != nullptr && context_->err == 0) return absl::OkStatus();
    if (context_ != nullptr) ::redisFree(std::exchange(context_, nullptr));
    int wait_status = 0;
    if (::waitpid(pid_, &wait_status, WNOHANG) == pid_) {
      pid_ = -1;
      return absl::UnavailableError(
          absl::StrCat("redis-server ended, wait status ", wait_status));
    }
    absl::SleepFor(kPollInterval);
  }
  return absl::UnavailableError(
      absl::StrCat("redis-server does not answer after ",
                   absl::FormatDuration(kStartTimeout)));
}

RedisServer::~RedisServer() {
  if (context_ != nullptr) ::redisFree(context_);
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (!directory_.empty()) {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
}

absl::Status RedisServer::Set(const std::string& key,
                              std::span<const std::byte> value) {
  const Reply reply(static_cast<redisReply*>(
      ::redisCommand(context_, "SET %b %b", key.data(), key.size(),
                     value.data(), value.size())));
  if (reply == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("Redis SET: ", context_->errstr));
  }
  if (reply->type != REDIS_REPLY_STATUS) {
    return absl::InternalError(absl::StrCat("Redis SET: ", reply->str));
  }
  return absl::OkStatus();
}

absl::Status RedisServer::Get(const std::string& key, size_t expected) {
  const Reply reply(static_cast<redisReply*>(
      ::redisCommand(context_, "GET %b", key.data(), key.size())));
  if (reply == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("Redis GET: ", context_->errstr));
  }
  if (reply->type != REDIS_REPLY_STRING ||
      static_cast<size_t>(reply->len) != expected) {
    return absl::InternalError(
        absl::StrCat("Redis GET: ", static_cast<size_t>(reply->len),
                     " bytes in place of ", expected));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
