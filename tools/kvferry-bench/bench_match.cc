#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "protocol/shm_layout.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/buffer.h"
#include "tools/kvferry-bench/peer.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

// Lookups with pin, fence, validation and unpin, over a pool that holds chains
// of 1,024 blocks, while another process publishes more and the daemon evicts
// what that one published before.
//
// The resident chains stay, since the last block of each is pinned all the
// time, as a running request would have it, and the daemon evicts a prefix
// from its tail.

namespace kvferry::bench {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kChainBlocks = 1024;
constexpr uint64_t kResidentSeed = 1;
constexpr uint64_t kChurnSeed = 2;
constexpr uint64_t kMissSeed = 3;
constexpr uint64_t kHotKeys = 4096;
// Calls shorter than a microsecond are timed in groups of so many.
constexpr uint64_t kGroupCalls = 32;
constexpr uint64_t kHotGroupCalls = 64;
constexpr uint64_t kFillTimeoutNs = uint64_t{60} * 1'000'000'000;

// One way of asking, and what it took.
struct Question {
  uint64_t batch = 1;
  bool hot = false;
  bool miss = false;
};

class MatchBench {
 public:
  MatchBench(const BenchOptions& options, RowSink* sink)
      : options_(options), sink_(sink) {}

  absl::Status Run();

 private:
  absl::Status PublishResidents();
  absl::Status PinTails();
  absl::StatusOr<Peer> StartChurn(double blocks_per_s);
  absl::Status FillRest(uint64_t block_count);
  absl::Status Measure(const Question& question);

  // One chunk of calls each; they append nanoseconds a call to `samples`.
  absl::Status ChainChunk(bool miss, std::vector<double>* samples);
  absl::Status HotChunk(std::vector<double>* samples);
  absl::Status BatchChunk(const Question& question,
                          std::vector<double>* samples);
  void LoadChunk(std::vector<double>* samples);

  absl::Status ExpectTokens(uint64_t tokens, uint64_t expected) const;

  const BenchOptions& options_;
  RowSink* const sink_;
  uint64_t resident_blocks_ = 0;
  uint64_t chunk_groups_ = 0;
  uint32_t rounds_ = 0;
  Stage stage_;
  std::vector<PinnedPrefix> tails_;
  Buffer load_memory_;
  PinnedPrefix prefix_;
  std::vector<BlockKey> hot_keys_;
  std::vector<BlockKey> batch_keys_;
  // What the chains run on; never starts again, so that no two chunks ask the
  // same.
  uint64_t walk_ = 1;
  uint64_t churns_ = 0;
};

absl::Status MatchBench::ExpectTokens(uint64_t tokens,
                                      uint64_t expected) const {
  if (tokens == expected) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "a match found ", tokens, " tokens where ", expected, " are resident"));
}

absl::Status MatchBench::PublishResidents() {
  std::vector<BlockKey> keys(kChainBlocks);
  for (uint64_t first = 0; first < resident_blocks_; first += kChainBlocks) {
    for (uint64_t i = 0; i < kChainBlocks; ++i) {
      keys[i] = KeyAt(kResidentSeed, first + i);
    }
    KVFERRY_ASSIGN_OR_RETURN(Publication publication,
                             stage_.client->OpenPublication());
    KVFERRY_RETURN_IF_ERROR(publication.Begin(0, {}, keys).status());
    KVFERRY_RETURN_IF_ERROR(
        publication.CommitAndWait(0, static_cast<uint32_t>(kChainBlocks)));
    KVFERRY_RETURN_IF_ERROR(publication.Close());
  }
  return absl::OkStatus();
}

absl::Status MatchBench::PinTails() {
  tails_.resize(resident_blocks_ / kChainBlocks);
  for (size_t chain = 0; chain < tails_.size(); ++chain) {
    const BlockKey tail = KeyAt(kResidentSeed, (chain + 1) * kChainBlocks - 1);
    KVFERRY_RETURN_IF_ERROR(stage_.client->Match({&tail, 1}, &tails_[chain]));
    KVFERRY_RETURN_IF_ERROR(ExpectTokens(tails_[chain].tokens(), 16));
  }
  return absl::OkStatus();
}

// A chain: which key is asked next is known only when the last answer is.
absl::Status MatchBench::ChainChunk(bool miss, std::vector<double>* samples) {
  const uint64_t seed = miss ? kMissSeed : kResidentSeed;
  const uint64_t mask = miss ? ~uint64_t{0} : resident_blocks_ - 1;
  Client& client = *stage_.client;
  uint64_t walk = walk_;
  for (uint64_t group = 0; group < chunk_groups_; ++group) {
    uint64_t found_tokens = 0;
    const uint64_t start_ns = NowNs();
    for (uint64_t i = 0; i < kGroupCalls; ++i) {
      const BlockKey key = KeyAt(seed, Mix64(walk) & mask);
      const absl::Status status = client.Match({&key, 1}, &prefix_);
      if (!status.ok()) return status;
      const uint64_t tokens = prefix_.tokens();
      found_tokens += tokens;
      walk += tokens + 1;
      if (tokens != 0) {
        walk += reinterpret_cast<uintptr_t>(prefix_.page(0).data());
      }
      prefix_.Release();
    }
    samples->push_back(static_cast<double>(NowNs() - start_ns) / kGroupCalls);
    KVFERRY_RETURN_IF_ERROR(
        ExpectTokens(found_tokens, miss ? 0 : kGroupCalls * 16));
  }
  walk_ = walk;
  return absl::OkStatus();
}

// One call after the other, none waiting for the last one's answer.
absl::Status MatchBench::HotChunk(std::vector<double>* samples) {
  Client& client = *stage_.client;
  for (uint64_t group = 0; group < chunk_groups_; ++group) {
    const BlockKey* const keys =
        hot_keys_.data() +
        (walk_ % (kHotKeys / kHotGroupCalls)) * kHotGroupCalls;
    ++walk_;
    uint64_t found_tokens = 0;
    const uint64_t start_ns = NowNs();
    for (uint64_t i = 0; i < kHotGroupCalls; ++i) {
      const absl::Status status = client.Match({keys + i, 1}, &prefix_);
      if (!status.ok()) return status;
      found_tokens += prefix_.tokens();
      prefix_.Release();
    }
    samples->push_back(static_cast<double>(NowNs() - start_ns) /
                       kHotGroupCalls);
    KVFERRY_RETURN_IF_ERROR(ExpectTokens(found_tokens, kHotGroupCalls * 16));
  }
  return absl::OkStatus();
}

absl::Status MatchBench::BatchChunk(const Question& question,
                                    std::vector<double>* samples) {
  batch_keys_.resize(question.batch);
  const uint64_t runs = resident_blocks_ / question.batch;
  const uint64_t calls =
      question.batch >= 1024 ? chunk_groups_ / 8 + 1 : chunk_groups_;
  for (uint64_t call = 0; call < calls; ++call) {
    const uint64_t run = Mix64(walk_++);
    const uint64_t first =
        question.miss ? run * question.batch : run % runs * question.batch;
    for (uint64_t i = 0; i < question.batch; ++i) {
      batch_keys_[i] =
          KeyAt(question.miss ? kMissSeed : kResidentSeed, first + i);
    }
    const uint64_t start_ns = NowNs();
    KVFERRY_RETURN_IF_ERROR(stage_.client->Match(batch_keys_, &prefix_));
    const uint64_t tokens = prefix_.tokens();
    prefix_.Release();
    samples->push_back(static_cast<double>(NowNs() - start_ns));
    KVFERRY_RETURN_IF_ERROR(
        ExpectTokens(tokens, question.miss ? 0 : question.batch * 16));
  }
  return absl::OkStatus();
}

// The least a lookup can cost: one load that has to wait for the last one,
// somewhere in as much memory as the index takes.
void MatchBench::LoadChunk(std::vector<double>* samples) {
  const auto* const words =
      reinterpret_cast<const uint64_t*>(load_memory_.data());
  const uint64_t count = load_memory_.size() / sizeof(uint64_t);
  uint64_t walk = walk_;
  for (uint64_t group = 0; group < chunk_groups_; ++group) {
    const uint64_t start_ns = NowNs();
    for (uint64_t i = 0; i < kGroupCalls; ++i) {
      // Multiply-shift: the upper half chooses, as in the index.
      const uint64_t at = ((Mix64(walk) >> 32) * count) >> 32;
      walk += *const_cast<const volatile uint64_t*>(words + at);
    }
    samples->push_back(static_cast<double>(NowNs() - start_ns) / kGroupCalls);
  }
  walk_ = walk;
}

absl::StatusOr<Peer> MatchBench::StartChurn(double blocks_per_s) {
  PeerOptions churn;
  churn.role = PeerRole::kChurn;
  churn.socket = stage_.socket;
  churn.namespace_name = stage_.namespace_name;
  churn.key_seed = Mix64(kChurnSeed + churns_++);  // keys of its own
  churn.page_bytes = kPageBytes;
  churn.blocks_per_s = blocks_per_s;
  churn.cpu = options_.cpu_other;
  return Peer::Start(churn);
}

// Has the other process fill what the residents left, as fast as it can, so
// that the daemon evicts from the first row on.
absl::Status MatchBench::FillRest(uint64_t block_count) {
  KVFERRY_ASSIGN_OR_RETURN(Peer peer, StartChurn(1e9));
  const uint64_t deadline_ns = NowNs() + kFillTimeoutNs;
  while (true) {
    const uint64_t done = peer.board().done.load(std::memory_order_relaxed);
    if (done >= block_count) return peer.Stop();
    if (NowNs() > deadline_ns) {
      return absl::DeadlineExceededError(
          absl::StrCat("the other process published only ", done, " of ",
                       block_count, " blocks in a minute"));
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
}

absl::Status MatchBench::Measure(const Question& question) {
  const bool chain = question.batch == 1 && !question.hot;
  KVFERRY_ASSIGN_OR_RETURN(Peer peer, StartChurn(options_.churn_blocks_per_s));
  KVFERRY_ASSIGN_OR_RETURN(const NamespaceStatus before, stage_.Status());
  const uint64_t start_ns = NowNs();

  std::vector<double> samples;
  std::vector<double> load_samples;
  for (uint32_t round = 0; round <= rounds_; ++round) {
    if (round == 1) {  // the first one was for the caches
      samples.clear();
      load_samples.clear();
    }
    if (question.hot) {
      KVFERRY_RETURN_IF_ERROR(HotChunk(&samples));
    } else if (chain) {
      KVFERRY_RETURN_IF_ERROR(ChainChunk(question.miss, &samples));
      LoadChunk(&load_samples);
    } else {
      KVFERRY_RETURN_IF_ERROR(BatchChunk(question, &samples));
    }
  }

  const double seconds = static_cast<double>(NowNs() - start_ns) * 1e-9;
  KVFERRY_ASSIGN_OR_RETURN(const NamespaceStatus after, stage_.Status());
  KVFERRY_RETURN_IF_ERROR(peer.Stop());

  const double p50_ns = Median(samples);
  Row row("match");
  row.Param("batch", question.batch);
  if (question.hot) row.Param("hot", true);
  if (question.miss) row.Param("miss", true);
  row.Latency(p50_ns, Quantile(samples, 0.99));
  if (chain) {
    row.LatencyLimit(p50_ns, Median(load_samples), "dependent random load");
  }
  row.Figure("resident_blocks", resident_blocks_);
  if (question.batch == 1) {
    row.Figure("averaged_over", question.hot ? kHotGroupCalls : kGroupCalls);
  }
  row.Figure("samples", samples.size())
      .Figure("published_per_s", static_cast<double>(after.published_blocks -
                                                     before.published_blocks) /
                                     seconds)
      .Figure("evicted_per_s", static_cast<double>(after.evicted_blocks -
                                                   before.evicted_blocks) /
                                   seconds)
      .Figure("pinning", PinningText(options_));
  sink_->Add(std::move(row));
  return absl::OkStatus();
}

absl::Status MatchBench::Run() {
  resident_blocks_ = ByScale<uint64_t>(options_, 16 * kChainBlocks,
                                       64 * kChainBlocks, 1024 * kChainBlocks);
  chunk_groups_ = ByScale<uint64_t>(options_, 16, 256, 1024);
  rounds_ = ByScale<uint32_t>(options_, 3, 15, 60);
  // The other process's room: a sixteenth, and what a session may hold ahead.
  const uint64_t churn_blocks = resident_blocks_ / 16 + 4096;

  StageOptions stage_options;
  stage_options.page_bytes = kPageBytes;
  stage_options.block_count = resident_blocks_ + churn_blocks;
  stage_options.daemon_cpu = options_.cpu_other;
  KVFERRY_ASSIGN_OR_RETURN(stage_, SetStage(options_, stage_options));
  KVFERRY_RETURN_IF_ERROR(PublishResidents());
  KVFERRY_RETURN_IF_ERROR(PinTails());

  const uint32_t bucket_count = protocol::BucketCountFor(
      static_cast<uint32_t>(stage_options.block_count));
  KVFERRY_ASSIGN_OR_RETURN(
      load_memory_,
      Buffer::Shared(protocol::IndexFileBytes(bucket_count), PageKind::kSmall));
  FillRandom(load_memory_.span(), 5);
  for (uint64_t i = 0; i < kHotKeys; ++i) {
    hot_keys_.push_back(KeyAt(kResidentSeed, Mix64(i) % resident_blocks_));
  }

  KVFERRY_RETURN_IF_ERROR(PinThread(options_.cpu_main));
  KVFERRY_RETURN_IF_ERROR(FillRest(churn_blocks));
  for (const Question& question :
       {Question{1}, Question{64}, Question{1024}, Question{1, true},
        Question{1, false, true}, Question{64, false, true},
        Question{1024, false, true}}) {
    KVFERRY_RETURN_IF_ERROR(Measure(question));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status BenchMatch(const BenchOptions& options, RowSink* sink) {
  return MatchBench(options, sink).Run();
}

}  // namespace kvferry::bench
