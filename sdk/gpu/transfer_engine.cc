#include "sdk/gpu/transfer_engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::sdk {
namespace {

constexpr uint32_t kSideStreamsMax = 8;
// Two halves of a page at least.
constexpr uint64_t kStagingBytesMin = 8192;

uint32_t LayerCount(const PageLists& list) {
  return list.layout->layout().group.layer_count;
}

}  // namespace

// --- PageLists -----------------------------------------------------------

void PageLists::Add(const BlockPlace& place, uint64_t engine_block,
                    uint32_t slice_first, uint32_t slice_end,
                    uint64_t page_bytes, uint32_t valid_tokens) {
  for (uint32_t slice = slice_first; slice < slice_end; ++slice) {
    std::byte* const page = place.address + slice * page_bytes;
    if (place.home == BlockHome::kStaged) {
      staged.push_back({.engine_block = engine_block,
                        .page = page,
                        .slice = slice,
                        .valid_tokens = valid_tokens});
    } else {
      direct[static_cast<uint32_t>(place.home) - 1].push_back(
          {.engine_block = engine_block,
           .page = page,
           .slice = slice,
           .valid_tokens = valid_tokens});
    }
  }
}

size_t PageLists::size() const {
  size_t size = staged.size();
  for (const auto& pages : direct) size += pages.size();
  return size;
}

// --- TransferEngine ------------------------------------------------------

TransferEngine::TransferEngine(std::shared_ptr<gpu::Device> device)
    : device_(std::move(device)),
      events_(device_.get(), kEventsMax),
      layouts_(device_.get()),
      reaper_(device_.get()) {}

absl::StatusOr<std::unique_ptr<TransferEngine>> TransferEngine::Create(
    std::shared_ptr<gpu::Device> device, const GpuOptions& options) {
  if (options.side_streams == 0 || options.side_streams > kSideStreamsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: ", options.side_streams,
                     " side streams, must be 1 to ", kSideStreamsMax));
  }
  if (options.staging_bytes < kStagingBytesMin) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: ", options.staging_bytes,
                     " bytes of staging, must be at least ", kStagingBytesMin));
  }
  std::unique_ptr<TransferEngine> engine(new TransferEngine(std::move(device)));
  KVFERRY_ASSIGN_OR_RETURN(
      engine->streams_,
      SideStreams::Create(engine->device(), options.side_streams));
  engine->stager_ = std::make_unique<Stager>(engine->device(), &engine->events_,
                                             engine->streams_->staging(),
                                             options.staging_bytes);
  KVFERRY_RETURN_IF_ERROR(engine->reaper_.Start());
  return engine;
}

TransferEngine::~TransferEngine() {
  Drain();
  // Empty by now; threads before what they use.
  if (stager_ != nullptr) stager_->Stop();
  reaper_.Stop();
}

absl::Status TransferEngine::Begin(void* stream) {
  KVFERRY_ASSIGN_OR_RETURN(const bool capturing, device_->IsCapturing(stream));
  if (capturing) {
    return absl::FailedPreconditionError(
        "gpu: the stream is being captured for a graph");
  }
  MutexLock lock(&mutex_);
  if (closed_) return absl::FailedPreconditionError("gpu: closing");
  if (under_way_ == kTransfersMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "gpu: ", kTransfersMax, " transfers under way, the limit"));
  }
  ++under_way_;
  return absl::OkStatus();
}

void TransferEngine::Ended() {
  MutexLock lock(&mutex_);
  if (--under_way_ == 0) changed_.NotifyAll();
}

void TransferEngine::Drain() {
  MutexLock lock(&mutex_);
  closed_ = true;
  while (under_way_ > 0) changed_.Wait(&mutex_);
}

template <typename Visit>
void TransferEngine::ForEachPiece(const Plan& plan, const Visit& visit) {
  uint32_t end = 0;
  for (const PageLists& list : plan.lists) {
    const uint32_t layers = LayerCount(list);
    end = std::max(end, plan.layers.count == 0
                            ? layers
                            : plan.layers.first + plan.layers.count);
  }
  const uint32_t step =
      plan.layers_a_piece == 0 ? end - plan.layers.first : plan.layers_a_piece;
  for (uint32_t first = plan.layers.first; first < end;) {
    const uint32_t piece_end = first + std::min(step, end - first);
    for (const PageLists& list : plan.lists) {
      const uint32_t list_end = std::min(piece_end, LayerCount(list));
      if (first >= list_end) continue;
      visit(list, gpu::LayerRange{first, list_end - first}, piece_end);
    }
    first = piece_end;
  }
}

absl::Status TransferEngine::Prepare(Plan* plan, void* stream) {
  size_t launches = 0;
  ForEachPiece(*plan, [&](const PageLists& list, gpu::LayerRange, uint32_t) {
    for (const auto& pages : list.direct) launches += pages.empty() ? 0 : 1;
  });
  plan->events.reserve(launches);
  while (plan->events.size() < launches) {
    KVFERRY_ASSIGN_OR_RETURN(EventPool::Loan event, events_.Lend());
    plan->events.push_back(std::move(event));
  }
  if (plan->after_event != nullptr) return absl::OkStatus();
  KVFERRY_ASSIGN_OR_RETURN(plan->after, events_.Lend());
  KVFERRY_RETURN_IF_ERROR(device_->Record(plan->after.get(), stream));
  plan->after_event = plan->after.get();
  return absl::OkStatus();
}

void TransferEngine::Start(Plan plan,
                           const std::shared_ptr<GpuOperation>& operation,
                           bool tells_layers) {
  const gpu::Event* const after = plan.after_event;
  if (plan.after != nullptr) operation->Keep(std::move(plan.after));
  // One stream for each kind of home, all of them behind the engine's point.
  std::array<void*, kDirectHomes> streams{};
  std::array<bool, kDirectHomes> used{};
  for (const PageLists& list : plan.lists) {
    for (uint32_t home = 0; home < kDirectHomes; ++home) {
      used[home] |= !list.direct[home].empty();
    }
  }
  for (uint32_t home = 0; home < kDirectHomes; ++home) {
    if (!used[home]) continue;
    streams[home] =
        plan.way == CopyWay::kIn ? streams_->NextIn() : streams_->NextOut();
    operation->Fail(device_->StreamWait(streams[home], *after));
  }
  const bool any_staged =
      std::any_of(plan.lists.begin(), plan.lists.end(),
                  [](const PageLists& list) { return !list.staged.empty(); });
  size_t next_event = 0;
  uint32_t launched = 0;  // layers
  ForEachPiece(plan, [&](const PageLists& list, gpu::LayerRange layers,
                         uint32_t piece_end) {
    // Of the piece before: this one has begun.
    if (tells_layers && !any_staged && launched != 0 && piece_end != launched) {
      operation->SetLaunched(launched);
    }
    launched = piece_end;
    for (uint32_t home = 0; home < kDirectHomes; ++home) {
      if (list.direct[home].empty()) continue;
      Launch(operation, plan.way, *list.layout, layers, list.direct[home],
             streams[home], std::move(plan.events[next_event++]));
    }
  });
  if (!any_staged) {
    if (tells_layers) operation->SetLaunched(launched);
    return;
  }
  std::vector<StagingJob> jobs;
  ForEachPiece(plan, [&](const PageLists& list, gpu::LayerRange layers,
                         uint32_t piece_end) {
    // The last job of a piece tells of it; pieces without any are told of with
    // the one before.
    if (list.staged.empty()) return;
    if (!jobs.empty() && jobs.back().launched_layers == piece_end) {
      jobs.back().launched_layers = 0;
    }
    jobs.push_back({.operation = operation,
                    .way = plan.way,
                    .layout = list.layout,
                    .layers = layers,
                    .pages = list.staged,
                    .after = after,
                    .launched_layers = piece_end});
  });
  jobs.back().launched_layers = launched;
  for (StagingJob& job : jobs) {
    if (!tells_layers) job.launched_layers = 0;
    operation->AddPart();
    stager_->Add(std::move(job));
  }
}

void TransferEngine::Launch(const std::shared_ptr<GpuOperation>& operation,
                            CopyWay way, const gpu::PreparedLayout& layout,
                            gpu::LayerRange layers,
                            std::span<const gpu::PageTransfer> pages,
                            void* stream, EventPool::Loan event) {
  // What failed before is not followed by more.
  if (!operation->failure().ok()) return;
  const absl::Status queued =
      QueueCopies(device_.get(), way, layout, layers, pages, stream);
  operation->Fail(queued);
  // Also after a failure: something may have been queued before it.
  const absl::Status recorded = device_->Record(event.get(), stream);
  operation->Fail(recorded);
  const DeviceWork work(event.get(), stream, recorded.ok());
  operation->AddPart();
  if (recorded.ok()) {
    operation->AddMark(std::move(event), stream, layers.first);
  } else {
    operation->Keep(std::move(event));
  }
  const uint64_t bytes = LayerBytes(layout, layers.count) * pages.size();
  reaper_.Add(work, [operation, bytes](const absl::Status& status) {
    if (status.ok()) operation->AddBytes(bytes);
    operation->EndPart(status);
  });
}

}  // namespace kvferry::sdk
