#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "kvferry/gpu.h"
#include "tools/kvferry-bench/affinity.h"
#include "tools/kvferry-bench/gpu_measures.h"
#include "tools/kvferry-bench/gpu_tensors.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/stage.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

// 4 KiB, 4 MiB, and 18 MiB in 32 blocks of 36 layers.
constexpr GpuShape kShapes[] = {
    {1, 2 * 1024, 1}, {32, 4 * 1024, 16}, {36, 8 * 1024, 32}};
constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr absl::Duration kPollInterval = absl::Microseconds(50);

// A namespace of one shape with its blocks in one residence, and an engine that
// restores them.
class Restore {
 public:
  Restore(const GpuTarget& target, const GpuShape& shape,
          BlockResidence residence)
      : target_(target), shape_(shape), residence_(residence) {}

  // Sets the daemon up, opens the device, publishes.
  absl::Status Prepare(const BenchOptions& options);
  // From before the match until the last byte has landed; nanoseconds.
  absl::StatusOr<double> Once();
  // One copy of as many bytes to the same place, waited for.
  absl::StatusOr<double> PlainCopy();
  absl::Status CheckBytes();
  // From Gpu::Open until the pool can be used.
  double open_ns() const { return open_ns_; }

 private:
  absl::Status Publish();

  const GpuTarget& target_;
  const GpuShape shape_;
  const BlockResidence residence_;
  const RandomTile tile_;
  std::unique_ptr<gpu::DeviceMemory> source_;
  std::unique_ptr<gpu::DeviceMemory> engine_;
  std::vector<std::byte> host_;
  std::unique_ptr<gpu::HostRegistration> registered_;
  std::unique_ptr<PagedMemory> from_;
  std::unique_ptr<PagedMemory> to_;
  std::vector<uint64_t> blocks_;
  std::vector<BlockKey> keys_;
  Stage stage_;
  std::unique_ptr<Gpu> gpu_;
  PinnedPrefix prefix_;
  double open_ns_ = 0;
};

absl::StatusOr<std::unique_ptr<PagedMemory>> TensorsAt(const GpuShape& shape,
                                                       std::byte* base) {
  PagedOptions options;
  const auto fragment = static_cast<int64_t>(shape.fragment_bytes);
  const int64_t token = fragment / shape.Group().block_tokens;
  for (uint32_t layer = 0; layer < shape.layers; ++layer) {
    options.layers.push_back({base + 2 * layer * fragment * shape.blocks,
                              fragment * shape.blocks, fragment, token, token});
  }
  options.block_count = shape.blocks;
  KVFERRY_ASSIGN_OR_RETURN(
      PagedMemory memory,
      PagedMemory::Create(shape.Group(), std::move(options)));
  return std::make_unique<PagedMemory>(std::move(memory));
}

absl::Status Restore::Prepare(const BenchOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(source_,
                           target_.device().AllocatePrivate(shape_.bytes()));
  KVFERRY_ASSIGN_OR_RETURN(engine_,
                           target_.device().AllocatePrivate(shape_.bytes()));
  KVFERRY_RETURN_IF_ERROR(
      tile_.Fill(target_, source_->address(), shape_.bytes()));
  KVFERRY_ASSIGN_OR_RETURN(from_, TensorsAt(shape_, source_->address()));
  KVFERRY_ASSIGN_OR_RETURN(to_, TensorsAt(shape_, engine_->address()));
  for (uint32_t i = 0; i < shape_.blocks; ++i) {
    blocks_.push_back(i);
    keys_.push_back(KeyAt(shape_.bytes(), i));
  }
  // What a plain copy from the host starts from.
  host_.resize(shape_.bytes());
  absl::StatusOr<std::unique_ptr<gpu::HostRegistration>> registered =
      target_.device().RegisterHost(host_.data(), host_.size(), false);
  if (registered.ok()) registered_ = *std::move(registered);

  StageOptions stage;
  stage.group = shape_.Group();
  // A publication takes at most half of the blocks, and a session's grants
  // want some.
  stage.block_count = shape_.blocks * 4 + 64;
  // Nothing is dropped or promoted: blocks stay where they were published.
  stage.daemon_arguments = {"--gpu-devices",        target_.name(),
                            "--gpu-pool-size",      "256MiB",
                            "--gpu-promotion-rate", "0"};
  stage.daemon_cpu = options.cpu_other;
  KVFERRY_ASSIGN_OR_RETURN(stage_, SetStage(options, stage));

  GpuOptions open;
  open.device = target_.name();
  const uint64_t start_ns = NowNs();
  KVFERRY_ASSIGN_OR_RETURN(gpu_, Gpu::Open(stage_.client.get(), open));
  const absl::Time deadline = absl::Now() + kTimeout;
  while (!gpu_->has_pool()) {
    if (absl::Now() > deadline) {
      return WithContext(gpu_->pool_status(), "no pool of the device");
    }
    absl::SleepFor(kPollInterval);
  }
  open_ns_ = static_cast<double>(NowNs() - start_ns);
  return Publish();
}

absl::Status Restore::Publish() {
  PublicationOptions options;
  options.residence = residence_;
  KVFERRY_ASSIGN_OR_RETURN(Publication publication,
                           stage_.client->OpenPublication(options));
  KVFERRY_RETURN_IF_ERROR(publication.Begin(0, {}, keys_).status());
  KVFERRY_ASSIGN_OR_RETURN(
      const GpuTransfer transfer,
      gpu_->PublishFrom(&publication, 0, *from_, blocks_, {}));
  KVFERRY_RETURN_IF_ERROR(transfer.Wait(absl::Now() + kTimeout));
  KVFERRY_RETURN_IF_ERROR(publication.Close(absl::Now() + kTimeout));
  KVFERRY_RETURN_IF_ERROR(stage_.client->Match(keys_, &prefix_));
  const uint32_t found = prefix_.block_count();
  uint32_t there = 0;
  for (uint32_t i = 0; i < found; ++i) {
    if (prefix_.residence(i) == residence_) ++there;
  }
  prefix_.Release();
  if (there != shape_.blocks) {
    return absl::InternalError(absl::StrCat(
        "of ", shape_.blocks, " published blocks ", found, " are found, ",
        there, " of them where they were published"));
  }
  return absl::OkStatus();
}

absl::StatusOr<double> Restore::Once() {
  const uint64_t start_ns = NowNs();
  KVFERRY_RETURN_IF_ERROR(stage_.client->Match(keys_, &prefix_));
  GpuPull pull;
  pull.memory = to_.get();
  pull.engine_blocks = blocks_;
  KVFERRY_ASSIGN_OR_RETURN(const GpuTransfer transfer,
                           gpu_->PullTo(std::move(prefix_), pull, {}));
  KVFERRY_RETURN_IF_ERROR(transfer.Wait(absl::Now() + kTimeout));
  const uint64_t end_ns = NowNs();
  if (transfer.bytes() != shape_.bytes()) {
    return absl::InternalError(absl::StrCat(
        transfer.bytes(), " of ", shape_.bytes(), " bytes were restored"));
  }
  return static_cast<double>(end_ns - start_ns);
}

absl::StatusOr<double> Restore::PlainCopy() {
  const bool from_host = residence_ == BlockResidence::kHost;
  const std::byte* const source = !from_host ? source_->address()
                                  : registered_ != nullptr
                                      ? registered_->device_address()
                                      : host_.data();
  const gpu::Copy copy{engine_->address(), source, shape_.bytes()};
  return target_.Time(1, [&] {
    return target_.device().CopyAsync({&copy, 1}, target_.stream());
  });
}

absl::Status Restore::CheckBytes() {
  std::vector<std::byte> seen(shape_.bytes());
  const gpu::Copy copy{seen.data(), engine_->address(), seen.size()};
  KVFERRY_RETURN_IF_ERROR(target_.Run([&] {
    return target_.device().CopyAsync({&copy, 1}, target_.stream());
  }));
  return tile_.Holds(seen, 0)
             ? absl::OkStatus()
             : absl::DataLossError("a restored block has other bytes");
}

absl::Status MeasureOne(const BenchOptions& options, const GpuTarget& target,
                        const GpuShape& shape, BlockResidence residence,
                        RowSink* sink) {
  Restore restore(target, shape, residence);
  KVFERRY_RETURN_IF_ERROR(restore.Prepare(options));
  std::vector<double> ours_ns;
  std::vector<double> plain_ns;
  // The first ones find memory that is not registered yet, and cold caches.
  const auto warm_up = ByScale<uint32_t>(options, 2, 20, 50);
  const auto rounds = ByScale<uint32_t>(options, 5, 100, 500);
  for (uint32_t i = 0; i < warm_up + rounds; ++i) {
    KVFERRY_ASSIGN_OR_RETURN(const double plain, restore.PlainCopy());
    KVFERRY_ASSIGN_OR_RETURN(const double ours, restore.Once());
    if (i < warm_up) continue;
    plain_ns.push_back(plain);
    ours_ns.push_back(ours);
  }
  // The last one to write there was ours.
  KVFERRY_RETURN_IF_ERROR(restore.CheckBytes());
  const double p50_ns = Median(ours_ns);
  Row row = target.MakeRow("restore");
  row.Param("residence", residence == BlockResidence::kGpu ? "gpu" : "host")
      .Param("bytes", shape.bytes())
      .Param("layers", shape.layers)
      .Param("blocks", shape.blocks)
      .Latency(p50_ns, Quantile(ours_ns, 0.99))
      .LatencyLimit(p50_ns, Median(plain_ns),
                    "one copy of as many bytes, waited for")
      .Figure("open_to_pool_ns", restore.open_ns())
      .Figure("rounds", rounds)
      .Figure("pinning", PinningText(options));
  sink->Add(std::move(row));
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureGpuRestore(const BenchOptions& options,
                               const GpuTarget& target, RowSink* sink) {
  if (!options.socket.empty()) {
    std::fprintf(stderr,
                 "gpu: restores need a daemon of their own: no rows of them "
                 "with --socket\n");
    return absl::OkStatus();
  }
  for (const GpuShape& shape : kShapes) {
    for (const BlockResidence residence :
         {BlockResidence::kGpu, BlockResidence::kHost}) {
      KVFERRY_RETURN_IF_ERROR(
          WithContext(MeasureOne(options, target, shape, residence, sink),
                      absl::StrCat("restore of ", shape.bytes(), " bytes")));
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::bench
