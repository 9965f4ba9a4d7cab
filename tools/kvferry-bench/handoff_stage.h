#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_STAGE_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_STAGE_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/client.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/handoff_content.h"
#include "tools/kvferry-bench/handoff_reader.h"
#include "tools/kvferry-bench/options.h"
#include "tools/kvferry-bench/peer.h"
#include "tools/kvferry-bench/stage.h"

namespace kvferry::bench {

inline constexpr uint32_t kHandoffTokensMax = 131'072;
inline constexpr uint32_t kHandoffChunkTokensMax = 8192;
inline constexpr uint32_t kHandoffBlockTokens = 16;

// What `handoff` plays on: a pool that holds the longest prompt, a publishing
// process, and the reader's own pages. One tensor-parallel rank of
// Llama-3.1-70B on eight: 80 layers, one KV head of 128 bf16 values, which is
// 40,960 bytes a token; where memory is short, a power of two less.
class HandoffStage {
 public:
  // Both take the rounds up in this process and in the same pages.
  enum class Spin { kDefault, kPolling };

  // Errors  as SetStage, Peer::Start and Buffer::Private
  static absl::StatusOr<std::unique_ptr<HandoffStage>> Set(
      const BenchOptions& options);

  HandoffReader& reader(Spin spin) {
    return spin == Spin::kDefault ? *default_reader_ : *polling_reader_;
  }
  // 1: the true page size.
  double scale() const { return scale_; }
  uint64_t token_bytes() const {
    return content_->page_bytes() / kHandoffBlockTokens;
  }
  uint32_t layer_count() const { return content_->layer_count(); }
  uint64_t NextRound() { return ++rounds_; }
  // Time on the processors so far.
  absl::StatusOr<double> DaemonCpuNs() const;

 private:
  HandoffStage() = default;
  absl::Status Prepare(const BenchOptions& options);
  // Lets publisher and readers touch every page of the pool and of their own.
  absl::Status Warm();

  double scale_ = 1;
  uint64_t rounds_ = 0;
  Stage stage_;
  std::unique_ptr<Client> polling_client_;
  std::optional<HandoffContent> content_;
  Buffer pages_;
  std::optional<Peer> peer_;
  std::optional<HandoffReader> default_reader_;
  std::optional<HandoffReader> polling_reader_;
};

// User and system time of a process so far, all its threads together.
// Errors  kNotFound  there is none
absl::StatusOr<double> ProcessCpuNs(pid_t pid);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_STAGE_H_
