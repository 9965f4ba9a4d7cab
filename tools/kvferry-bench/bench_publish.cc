#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/status.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/copies.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

// `publish`: whole blocks are copied in from an engine's memory and committed,
// until everybody sees them. `pull`: resident blocks are matched, copied out
// into an engine's memory, checked and released.
//
// The plain copies use blocks of the same pool. Memory of their own, of the
// same kind, is not the same: which physical pages a mapping got makes up to
// 20 % in a virtual machine, in favour of the one that was made last.

namespace kvferry::bench {
namespace {

constexpr uint64_t kKeySeed = 11;
constexpr uint64_t kHeldSeed = 12;

// Both directions of one page size.
class Transfer {
 public:
  Transfer(const CopyScale& scale, uint64_t page_bytes)
      : scale_(scale), page_bytes_(page_bytes) {}

  absl::Status Prepare(const BenchOptions& options,
                       std::vector<std::string> daemon_arguments);
  // One batch, timed.
  absl::StatusOr<double> Publish();
  absl::StatusOr<double> Pull();
  // Publishes so many blocks, each in memory that this process has not touched
  // before, and returns the rate.
  // REQUIRES  block_count <= pool_blocks()
  absl::StatusOr<double> Fill(uint64_t block_count);

  uint64_t pool_blocks() const { return scale_.pool_bytes / page_bytes_; }

  // Takes a share of the pool for the plain copies to write to.
  absl::Status HoldTargets();
  // Pins published blocks for the plain copies to read.
  absl::Status PinSources();

  // The engine's pages, and those of the pool, one after the other.
  std::byte* NextEnginePage() { return engine_pages_.Next(page_bytes_); }
  std::byte* NextPoolPage() {
    return pool_pages_[next_pool_page_++ % pool_pages_.size()];
  }

 private:
  absl::Status CheckFirstPage(const BlockKey& key, const std::byte* expected);

  const CopyScale& scale_;
  const uint64_t page_bytes_;
  Stage stage_;
  Buffer engine_;  // what an engine has
  Rotation engine_pages_{engine_};
  std::optional<Publication> held_;
  std::vector<PinnedPrefix> pinned_;
  // Of held_ or pinned_, in the order of their addresses.
  std::vector<std::byte*> pool_pages_;
  size_t next_pool_page_ = 0;
  PinnedPrefix prefix_;
  uint64_t published_ = 0;  // blocks, and the number of the next key
  uint64_t pulls_ = 0;
  std::vector<BlockKey> keys_;
  std::vector<const std::byte*> sources_;
};

absl::Status Transfer::Prepare(const BenchOptions& options,
                               std::vector<std::string> daemon_arguments) {
  StageOptions stage_options;
  stage_options.page_bytes = page_bytes_;
  stage_options.block_count = scale_.pool_bytes / page_bytes_;
  stage_options.daemon_arguments = std::move(daemon_arguments);
  stage_options.daemon_cpu = options.cpu_other;
  KVFERRY_ASSIGN_OR_RETURN(stage_, SetStage(options, stage_options));
  KVFERRY_ASSIGN_OR_RETURN(engine_, Buffer::Private(scale_.buffer_bytes));
  FillRandom(engine_.span(), 21);
  keys_.resize(scale_.batch);
  sources_.resize(scale_.batch);
  return PinThread(options.cpu_main);
}

absl::Status Transfer::HoldTargets() {
  // As much as a session may have under way, but for a batch of ours: the two
  // then walk over about as much memory and miss the TLB alike.
  const uint64_t count = pool_blocks() / 2 - scale_.batch;
  std::vector<BlockKey> keys(count);
  for (uint64_t i = 0; i < count; ++i) keys[i] = KeyAt(kHeldSeed, i);
  KVFERRY_ASSIGN_OR_RETURN(held_, stage_.client->OpenPublication());
  KVFERRY_RETURN_IF_ERROR(held_->Begin(0, {}, keys).status());
  for (uint32_t i = 0; i < count; ++i) {
    const std::span<std::byte> page = held_->page(i, 0);
    if (page.empty()) {
      return absl::InternalError(
          absl::StrCat("block ", i, " of ", count, " has outcome ",
                       static_cast<int>(held_->outcome(i))));
    }
    FillRandom(page, i);
    pool_pages_.push_back(page.data());
  }
  std::sort(pool_pages_.begin(), pool_pages_.end());
  return absl::OkStatus();
}

absl::Status Transfer::PinSources() {
  pinned_.resize(published_ / scale_.batch);
  for (uint64_t batch = 0; batch < pinned_.size(); ++batch) {
    for (uint64_t i = 0; i < scale_.batch; ++i) {
      keys_[i] = KeyAt(kKeySeed, batch * scale_.batch + i);
    }
    KVFERRY_RETURN_IF_ERROR(stage_.client->Match(keys_, &pinned_[batch]));
    for (uint32_t i = 0; i < pinned_[batch].block_count(); ++i) {
      // Read only, by those that are given it as a source.
      pool_pages_.push_back(
          const_cast<std::byte*>(pinned_[batch].page(i).data()));
    }
  }
  std::sort(pool_pages_.begin(), pool_pages_.end());
  return absl::OkStatus();
}

absl::StatusOr<double> Transfer::Publish() {
  for (uint64_t i = 0; i < scale_.batch; ++i) {
    keys_[i] = KeyAt(kKeySeed, published_ + i);
    sources_[i] = engine_pages_.Next(page_bytes_);
  }
  const uint64_t start_ns = NowNs();
  KVFERRY_ASSIGN_OR_RETURN(const uint32_t visible,
                           stage_.client->Publish(0, {}, keys_, sources_));
  const uint64_t end_ns = NowNs();
  if (visible != scale_.batch) {
    return absl::InternalError(absl::StrCat("only ", visible, " of ",
                                            scale_.batch,
                                            " published blocks are visible"));
  }
  published_ += scale_.batch;
  KVFERRY_RETURN_IF_ERROR(CheckFirstPage(keys_[0], sources_[0]));
  return static_cast<double>(end_ns - start_ns);
}

absl::Status Transfer::CheckFirstPage(const BlockKey& key,
                                      const std::byte* expected) {
  KVFERRY_RETURN_IF_ERROR(stage_.client->Match({&key, 1}, &prefix_));
  const bool equal =
      prefix_.block_count() == 1 &&
      std::memcmp(prefix_.page(0).data(), expected, page_bytes_) == 0;
  prefix_.Release();
  return equal ? absl::OkStatus()
               : absl::DataLossError(
                     "a published block is not there, or has other bytes");
}

absl::StatusOr<double> Transfer::Fill(uint64_t block_count) {
  double taken_ns = 0;
  while (published_ < block_count) {
    KVFERRY_ASSIGN_OR_RETURN(const double batch_ns, Publish());
    taken_ns += batch_ns;
  }
  return static_cast<double>(published_ * page_bytes_) / taken_ns;
}

absl::StatusOr<double> Transfer::Pull() {
  // One of the published batches, in an order of its own.
  const uint64_t chosen = Mix64(pulls_++) % (published_ / scale_.batch);
  for (uint64_t i = 0; i < scale_.batch; ++i) {
    keys_[i] = KeyAt(kKeySeed, chosen * scale_.batch + i);
  }
  const uint64_t start_ns = NowNs();
  KVFERRY_RETURN_IF_ERROR(stage_.client->Match(keys_, &prefix_));
  const uint32_t count = prefix_.block_count();
  for (uint32_t i = 0; i < count; ++i) {
    CopyBytes(engine_pages_.Next(page_bytes_), prefix_.page(i).data(),
              page_bytes_);
  }
  KVFERRY_RETURN_IF_ERROR(prefix_.Check());
  prefix_.Release();
  const uint64_t end_ns = NowNs();
  if (count != scale_.batch) {
    return absl::InternalError(absl::StrCat(
        "only ", count, " of ", scale_.batch, " resident blocks were matched"));
  }
  return static_cast<double>(end_ns - start_ns);
}

Row MakeRow(const char* name, const CopyScale& scale, uint64_t page_bytes) {
  Row row(name);
  row.Param("page_bytes", page_bytes).Param("batch", scale.batch);
  return row;
}

}  // namespace

absl::Status BenchPublish(const BenchOptions& options, RowSink* sink) {
  struct Setting {
    const char* daemon;
    std::vector<std::string> arguments;
  };
  std::vector<Setting> settings = {{"polling", {"--spin-us", "max"}},
                                   {"default", {}}};
  if (!options.socket.empty()) settings = {{"running", {}}};
  const CopyScale scale = CopyScaleOf(options);
  for (const uint64_t page_bytes : scale.page_bytes) {
    for (const Setting& setting : settings) {
      Transfer transfer(scale, page_bytes);
      KVFERRY_RETURN_IF_ERROR(transfer.Prepare(options, setting.arguments));
      KVFERRY_RETURN_IF_ERROR(transfer.HoldTargets());
      KVFERRY_ASSIGN_OR_RETURN(const double first_gb_per_s,
                               transfer.Fill(transfer.pool_blocks()));
      Row row = MakeRow("publish", scale, page_bytes);
      row.Param("daemon", std::string(setting.daemon));
      KVFERRY_RETURN_IF_ERROR(RaceCopies(
          scale, page_bytes, [&] { return transfer.Publish(); },
          [&] { return transfer.NextEnginePage(); },
          [&] { return transfer.NextPoolPage(); }, &row));
      row.Figure("first_pass_gb_per_s", first_gb_per_s)
          .Figure("pinning", PinningText(options));
      sink->Add(std::move(row));
    }
  }
  return absl::OkStatus();
}

absl::Status BenchPull(const BenchOptions& options, RowSink* sink) {
  const CopyScale scale = CopyScaleOf(options);
  for (const uint64_t page_bytes : scale.page_bytes) {
    Transfer transfer(scale, page_bytes);
    KVFERRY_RETURN_IF_ERROR(transfer.Prepare(options, {}));
    // Half: nothing has to be evicted, so all of it stays.
    KVFERRY_RETURN_IF_ERROR(transfer.Fill(transfer.pool_blocks() / 2).status());
    KVFERRY_RETURN_IF_ERROR(transfer.PinSources());
    Row row = MakeRow("pull", scale, page_bytes);
    KVFERRY_RETURN_IF_ERROR(RaceCopies(
        scale, page_bytes, [&] { return transfer.Pull(); },
        [&] { return transfer.NextPoolPage(); },
        [&] { return transfer.NextEnginePage(); }, &row));
    row.Figure("pinning", PinningText(options));
    sink->Add(std::move(row));
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
