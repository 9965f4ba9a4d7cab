#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/mapping.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

// How fast a pool's memory is there, beside the kernel's own rate for the same
// pages; and what the daemon and a session keep for each block beyond it.

namespace kvferry::bench {
namespace {

constexpr uint64_t kFileBytes = uint64_t{1} << 30;
constexpr uint64_t kPageBytes = 64 * 1024;
constexpr uint64_t kOverheadPageBytes = 4096;

// From the request for a namespace to the last of its bytes.
absl::StatusOr<double> PopulateByDaemon(const BenchOptions& options,
                                        uint64_t pool_bytes) {
  StageOptions stage_options;
  stage_options.daemon_cpu = options.cpu_other;
  constexpr absl::Duration kCallTimeout = absl::Seconds(10);
  constexpr absl::Duration kPollInterval = absl::Milliseconds(2);
  constexpr absl::Duration kTimeout = absl::Seconds(120);
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<tools::DaemonProcess> daemon,
                           StartDaemon(options, pool_bytes, stage_options));
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<AdminClient> admin,
      AdminClient::Connect(daemon->socket_path(), kCallTimeout));
  const uint64_t start_ns = NowNs();
  const absl::Time deadline = absl::Now() + kTimeout;
  KVFERRY_RETURN_IF_ERROR(admin->CreateNamespace(
      StageSpec("kvferry-bench-memory", kPageBytes), pool_bytes));
  uint64_t populated_bytes = 0;
  while (true) {
    KVFERRY_ASSIGN_OR_RETURN(const std::vector<NamespaceStatus> all,
                             admin->Namespaces());
    if (!all.empty()) {
      populated_bytes = all.front().populated_bytes;
      const std::vector<GroupStatus>& groups = all.front().groups;
      if (!groups.empty() && groups.front().present == groups.front().blocks) {
        return static_cast<double>(NowNs() - start_ns);
      }
    }
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "only ", populated_bytes, " of ", pool_bytes,
          " bytes are populated after ", absl::FormatDuration(kTimeout)));
    }
    absl::SleepFor(kPollInterval);
  }
}

// As many memory files as the daemon makes, of the same pages.
absl::StatusOr<double> PopulateByKernel(uint64_t pool_bytes, PageKind pages) {
  std::vector<Mapping> mappings;
  double taken_ns = 0;
  for (uint64_t done = 0; done < pool_bytes;) {
    const uint64_t left = pool_bytes - done;
    const uint64_t bytes = left < kFileBytes ? left : kFileBytes;
    const uint64_t start_ns = NowNs();
    KVFERRY_ASSIGN_OR_RETURN(const UniqueFd file, MakeMemoryFile(bytes, pages));
    KVFERRY_ASSIGN_OR_RETURN(
        Mapping mapping,
        Mapping::Map(file.get(), bytes, Mapping::Access::kReadWrite));
    KVFERRY_RETURN_IF_ERROR(PopulatePages(mapping));
    taken_ns += static_cast<double>(NowNs() - start_ns);
    mappings.push_back(std::move(mapping));
    done += bytes;
  }
  return taken_ns;
}

absl::Status MeasurePopulate(const BenchOptions& options, RowSink* sink) {
  const uint64_t pool_bytes =
      options.pool_bytes != 0
          ? options.pool_bytes
          : ByScale<uint64_t>(options, uint64_t{128} << 20, uint64_t{1} << 30,
                              uint64_t{8} << 30);
  const auto rounds = ByScale<uint32_t>(options, 1, 5, 3);
  PageKind pages = PageKind::kSmall;
  {
    StageOptions stage_options;
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<tools::DaemonProcess> daemon,
                             StartDaemon(options, kFileBytes, stage_options));
    KVFERRY_ASSIGN_OR_RETURN(
        const std::unique_ptr<AdminClient> admin,
        AdminClient::Connect(daemon->socket_path(), absl::Seconds(10)));
    KVFERRY_ASSIGN_OR_RETURN(const DaemonStatus status, admin->Status());
    if (status.huge_pages) pages = PageKind::kHuge;
  }
  KVFERRY_ASSIGN_OR_RETURN(
      const std::vector<ContestantTimes> times,
      Interleave(
          {{"the daemon",
            [&] { return PopulateByDaemon(options, pool_bytes); }},
           {"the kernel", [&] { return PopulateByKernel(pool_bytes, pages); }}},
          rounds));
  const auto bytes = static_cast<double>(pool_bytes);
  sink->Add(Row("memory")
                .Param("pool_bytes", pool_bytes)
                .Param("huge_pages", pages == PageKind::kHuge)
                .Rate(bytes / times[0].median_ns, bytes / times[1].median_ns,
                      "MADV_POPULATE_WRITE")
                .Figure("rounds", rounds)
                .Figure("pinning", PinningText(options)));
  return absl::OkStatus();
}

absl::Status MeasureOverhead(const BenchOptions& options, RowSink* sink) {
  StageOptions stage_options;
  stage_options.page_bytes = kOverheadPageBytes;
  stage_options.block_count =
      ByScale<uint64_t>(options, 16'384, 65'536, 262'144);
  stage_options.daemon_cpu = options.cpu_other;
  KVFERRY_ASSIGN_OR_RETURN(const Stage stage, SetStage(options, stage_options));
  KVFERRY_ASSIGN_OR_RETURN(const NamespaceStatus status, stage.Status());
  sink->Add(
      Row("memory-overhead")
          .Param("page_bytes", kOverheadPageBytes)
          .Figure("blocks", stage_options.block_count)
          .Figure("overhead_bytes_per_block", status.overhead_bytes_per_block)
          .Figure("pin_bytes_per_block_and_session", 2));
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchMemory(const BenchOptions& options, RowSink* sink) {
  // A running daemon's memory is there already.
  if (options.socket.empty()) {
    KVFERRY_RETURN_IF_ERROR(MeasurePopulate(options, sink));
  }
  return MeasureOverhead(options, sink);
}

}  // namespace kvferry::bench
