#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_REDIS_SERVER_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_REDIS_SERVER_H_

#include <sys/types.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

struct redisContext;

namespace kvferry::bench {

// A Redis of one's own on a unix socket in a new directory, without
// persistence, and one connection to it. Gone with the object.
class RedisServer {
 public:
  // Errors  kNotFound     no redis-server in $PATH
  //         kUnavailable  it does not answer
  static absl::StatusOr<std::unique_ptr<RedisServer>> Start(int cpu);
  ~RedisServer();
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;

  // "7.0.15"
  const std::string& version() const { return version_; }

  absl::Status Set(const std::string& key, std::span<const std::byte> value);
  // Fetches a value of exactly `expected` bytes, which stays in the client's
  // own reply and is not copied further: the baseline's best case.
  absl::Status Get(const std::string& key, size_t expected);

 private:
  RedisServer() = default;
  absl::Status AwaitAnswer(const std::string& socket);

  std::string directory_;
  std::string version_;
  pid_t pid_ = -1;
  redisContext* context_ = nullptr;
};

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_REDIS_SERVER_H_
