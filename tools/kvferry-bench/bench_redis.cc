#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/copies.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/redis_server.h"
#include "tools/kvferry-bench/statistics.h"

// The values of `publish` and `pull` through Redis on a unix socket, by one
// client that sets or gets one after the other.

namespace kvferry::bench {
namespace {

constexpr uint64_t kValueBytes = uint64_t{256} << 20;

}  // namespace

absl::Status BenchRedis(const BenchOptions& options, RowSink* sink) {
  absl::StatusOr<std::unique_ptr<RedisServer>> started =
      RedisServer::Start(options.cpu_other);
  if (!started.ok()) {
    if (!absl::IsNotFound(started.status())) return started.status();
    std::fprintf(stderr, "redis: skipped: %s\n",
                 std::string(started.status().message()).c_str());
    return absl::OkStatus();
  }
  started->reset();
  const CopyScale scale = CopyScaleOf(options);
  KVFERRY_ASSIGN_OR_RETURN(const Buffer values,
                           Buffer::Private(scale.buffer_bytes));
  FillRandom(values.span(), 51);
  KVFERRY_RETURN_IF_ERROR(PinThread(options.cpu_main));

  for (const uint64_t page_bytes : scale.page_bytes) {
    // A server of its own: one that held values of another size reuses their
    // memory badly. 256 MiB of values: none is in a cache when its turn comes
    // again.
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<RedisServer> server,
                             RedisServer::Start(options.cpu_other));
    RedisServer& redis = *server;
    const uint64_t key_count = kValueBytes / page_bytes;
    const uint64_t calls =
        std::max<uint64_t>(scale.batch, scale.round_bytes / page_bytes);
    Rotation source(values);
    uint64_t next_set = 0;
    uint64_t next_get = 0;
    std::vector<double> set_ns;
    std::vector<double> get_ns;
    const auto round = [&](bool set) -> absl::StatusOr<double> {
      double round_ns = 0;
      for (uint64_t i = 0; i < calls; ++i) {
        const std::string key =
            absl::StrCat((set ? next_set++ : next_get++) % key_count);
        const uint64_t start_ns = NowNs();
        KVFERRY_RETURN_IF_ERROR(
            set ? redis.Set(key, {source.Next(page_bytes), page_bytes})
                : redis.Get(key, page_bytes));
        const auto taken_ns = static_cast<double>(NowNs() - start_ns);
        (set ? set_ns : get_ns).push_back(taken_ns);
        round_ns += taken_ns;
      }
      return round_ns;
    };
    for (uint64_t i = 0; i < key_count; ++i) {
      KVFERRY_RETURN_IF_ERROR(
          redis.Set(absl::StrCat(i), {source.Next(page_bytes), page_bytes}));
    }
    KVFERRY_ASSIGN_OR_RETURN(const std::vector<ContestantTimes> times,
                             Interleave({{"SET", [&] { return round(true); }},
                                         {"GET", [&] { return round(false); }}},
                                        scale.rounds));
    const auto bytes = static_cast<double>(calls * page_bytes);
    sink->Add(Row("redis")
                  .Param("op", std::string("set"))
                  .Param("page_bytes", page_bytes)
                  .Latency(Median(set_ns), Quantile(set_ns, 0.99))
                  .Figure("gb_per_s", bytes / times[0].median_ns)
                  .Figure("redis_version", redis.version()));
    sink->Add(Row("redis")
                  .Param("op", std::string("get"))
                  .Param("page_bytes", page_bytes)
                  .Latency(Median(get_ns), Quantile(get_ns, 0.99))
                  .Figure("gb_per_s", bytes / times[1].median_ns)
                  .Figure("redis_version", redis.version()));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
