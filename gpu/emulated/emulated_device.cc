#include "gpu/emulated/emulated_device.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gpu/emulated/device_ranges.h"
#include "gpu/emulated/host_memory.h"
#include "gpu/emulated/memory.h"
#include "gpu/emulated/memory_file.h"
#include "gpu/emulated/point.h"
#include "gpu/emulated/stream_table.h"
#include "gpu/transfer_plan.h"

namespace kvferry::gpu {
namespace {

constexpr const char* kCapabilities[] = {
    kCapabilityIpc,       kCapabilityVmm,  kCapabilityWholeGpu,
    kCapabilityShared,    kCapabilityPeer, kCapabilityReadOnlyHost,
    kCapabilityBatchCopy,
};

class EmulatedStream : public Stream {
 public:
  explicit EmulatedStream(std::shared_ptr<EmulatedContext> context)
      : context_(std::move(context)) {
    auto queue = std::make_shared<StreamQueue>(context_->number());
    native_ = queue.get();
    StreamTable::OfThisProcess().Add(std::move(queue));
  }
  ~EmulatedStream() override {
    if (!fork_guard_.forked()) StreamTable::OfThisProcess().Remove(native_);
  }

 private:
  const std::shared_ptr<EmulatedContext>
      context_;  // outlives the stream's work
  const ForkGuard fork_guard_;
};

class EmulatedEvent : public Event {
 public:
  // Null: never recorded.
  std::shared_ptr<Point> point() const ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    return point_;
  }
  void set_point(std::shared_ptr<Point> point) ABSL_LOCKS_EXCLUDED(mutex_) {
    MutexLock lock(&mutex_);
    point_ = std::move(point);
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<Point> point_ ABSL_GUARDED_BY(mutex_);
};

std::shared_ptr<Point> PointOf(const Event& event) {
  return static_cast<const EmulatedEvent&>(event).point();
}

class EmulatedLayout : public PreparedLayout {
 public:
  EmulatedLayout(EngineLayout layout, TransferPlanner planner)
      : PreparedLayout(std::move(layout)), planner_(std::move(planner)) {}
  const TransferPlanner& planner() const { return planner_; }

 private:
  const TransferPlanner planner_;
};

// What a kernel does, run by run.
void RunLaunch(const TransferLaunch& launch, std::span<const uint64_t> bases,
               bool to_pages) {
  const TransferShape& shape = launch.shape;
  for (const TransferPiece& piece : launch.pieces) {
    for (uint32_t base = 0; base < shape.base_count; ++base) {
      const uint64_t memory_first =
          bases[launch.first_base + base] + piece.memory_offset;
      std::byte* const page_first = piece.page + base * shape.page_base_stride;
      for (uint64_t run = 0; run < shape.runs; ++run) {
        const TransferOffsets offsets = RunOffsets(shape, run);
        auto* const memory =
            reinterpret_cast<std::byte*>(memory_first + offsets.memory);
        std::byte* const page = page_first + offsets.page;
        if (to_pages) {
          std::memcpy(page, memory, shape.run_bytes);
        } else {
          std::memcpy(memory, page, shape.run_bytes);
        }
      }
    }
  }
}

DeviceReport MakeReport(const EmulatedOptions& options,
                        const EmulatedContext& context) {
  DeviceReport report;
  report.kind = DeviceKind::kEmulated;
  report.uuid = EmulatedUuid(options.number);
  report.name = "emulated (host memory)";
  report.ordinal = options.number;
  report.total_bytes = options.total_bytes;
  report.free_bytes = options.total_bytes -
                      std::min(options.total_bytes, context.memory_bytes());
  for (const char* const name : kCapabilities) {
    Capability capability{name, true, {}};
    if (std::find(options.missing.begin(), options.missing.end(), name) !=
        options.missing.end()) {
      capability = {name, false, "left out by the device's configuration"};
    } else if (name == kCapabilityIpc && options.directory.empty()) {
      capability = {name, false, "no directory for the files of memory"};
    }
    report.capabilities.push_back(std::move(capability));
  }
  return report;
}

}  // namespace

EmulatedDevice::EmulatedDevice(EmulatedOptions options,
                               std::shared_ptr<EmulatedContext> context)
    : options_(std::move(options)),
      context_(std::move(context)),
      report_(MakeReport(options_, *context_)) {}

absl::StatusOr<std::unique_ptr<Device>> OpenEmulated(
    const EmulatedOptions& options) {
  for (const std::string& name : options.missing) {
    if (std::find(std::begin(kCapabilities), std::end(kCapabilities), name) ==
        std::end(kCapabilities)) {
      return absl::InvalidArgumentError(
          absl::StrCat("gpu: \"", name, "\" is no capability of a device"));
    }
  }
  if (!options.directory.empty()) {
    KVFERRY_RETURN_IF_ERROR(MemoryFile::RemoveStale(options.directory));
  }
  return std::make_unique<EmulatedDevice>(options,
                                          EmulatedContext::Of(options.number));
}

absl::Status EmulatedDevice::Ready() const {
  if (fork_guard_.forked()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "gpu: ", context_->name(), " was opened before a fork, in the parent"));
  }
  return context_->status();
}

// --- memory ---------------------------------------------------------------

absl::StatusOr<ExportMode> EmulatedDevice::ModeFor(ExportMode mode) const {
  if (mode == ExportMode::kAuto) {
    mode = report_.Has(kCapabilityVmm) ? ExportMode::kVmm : ExportMode::kIpc;
  }
  const char* const capability =
      mode == ExportMode::kVmm ? kCapabilityVmm : kCapabilityIpc;
  if (!report_.Has(capability)) {
    return absl::UnimplementedError(
        absl::StrCat("gpu: ", context_->name(), " has no ", capability, ": ",
                     report_.ReasonAgainst(capability)));
  }
  return mode;
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> EmulatedDevice::Allocate(
    uint64_t bytes, ExportMode mode) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  KVFERRY_ASSIGN_OR_RETURN(mode, ModeFor(mode));
  return EmulatedMemory::Make(context_, bytes, options_.total_bytes,
                              mode == ExportMode::kVmm
                                  ? EmulatedMemory::Sharing::kDescriptor
                                  : EmulatedMemory::Sharing::kHandle,
                              options_.directory);
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> EmulatedDevice::AllocatePrivate(
    uint64_t bytes) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  return EmulatedMemory::Make(context_, bytes, options_.total_bytes,
                              EmulatedMemory::Sharing::kNone, {});
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> EmulatedDevice::Import(
    const ExportedMemory& exported) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  if (exported.owner_pid == ::getpid()) {
    return absl::FailedPreconditionError(
        "gpu: this process made the memory itself and need not import it");
  }
  return EmulatedMemory::Import(context_, exported);
}

absl::StatusOr<std::unique_ptr<HostRegistration>> EmulatedDevice::RegisterHost(
    std::byte* address, uint64_t bytes, bool read_only) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  if (read_only && !report_.Has(kCapabilityReadOnlyHost)) {
    return absl::UnimplementedError(absl::StrCat(
        "gpu: ", context_->name(), " has no ", kCapabilityReadOnlyHost, ": ",
        report_.ReasonAgainst(kCapabilityReadOnlyHost)));
  }
  return EmulatedHostMemory::Register(address, bytes, read_only);
}

// --- streams --------------------------------------------------------------

absl::StatusOr<std::shared_ptr<StreamQueue>> EmulatedDevice::QueueOf(
    void* stream) const {
  KVFERRY_RETURN_IF_ERROR(Ready());
  if (stream == nullptr) {
    // Shares the context's life.
    return std::shared_ptr<StreamQueue>(context_, &context_->default_stream());
  }
  std::shared_ptr<StreamQueue> queue =
      StreamTable::OfThisProcess().Find(stream);
  if (queue == nullptr || queue->device() != context_->number()) {
    return absl::InvalidArgumentError(
        absl::StrCat("gpu: ", context_->name(), " has no such stream"));
  }
  return queue;
}

absl::StatusOr<std::shared_ptr<StreamQueue>> EmulatedDevice::QueueForWork(
    void* stream) const {
  KVFERRY_ASSIGN_OR_RETURN(std::shared_ptr<StreamQueue> queue, QueueOf(stream));
  if (queue->capturing()) {
    return absl::FailedPreconditionError(
        "gpu: the stream is being captured for a graph");
  }
  return queue;
}

void EmulatedDevice::PushWork(StreamQueue* queue, std::function<void()> work) {
  queue->Push([context = context_.get(), delay_us = options_.delay_us,
               fate = context_->NextFate(), work = std::move(work)] {
    using Fate = EmulatedContext::Fate;
    if (fate == Fate::kHangs) context->Hang();
    if (delay_us > 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    }
    if (fate == Fate::kFails) context->Break("a piece of work failed, as told");
    if (context->status().ok()) work();
  });
}

absl::StatusOr<std::unique_ptr<Stream>> EmulatedDevice::CreateStream() {
  KVFERRY_RETURN_IF_ERROR(Ready());
  return std::make_unique<EmulatedStream>(context_);
}

absl::StatusOr<std::unique_ptr<Event>> EmulatedDevice::CreateEvent() {
  KVFERRY_RETURN_IF_ERROR(Ready());
  return std::make_unique<EmulatedEvent>();
}

absl::Status EmulatedDevice::Record(Event* event, void* stream) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<StreamQueue> queue,
                           QueueForWork(stream));
  auto point = std::make_shared<Point>();
  queue->Push(
      [context = context_.get(), point] { point->Reach(context->status()); });
  static_cast<EmulatedEvent*>(event)->set_point(std::move(point));
  return absl::OkStatus();
}

absl::Status EmulatedDevice::StreamWait(void* stream, const Event& event) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<StreamQueue> queue,
                           QueueForWork(stream));
  std::shared_ptr<Point> point = PointOf(event);
  if (point == nullptr) return absl::OkStatus();
  queue->Push([point = std::move(point)] { (void)point->Wait(); });
  return absl::OkStatus();
}

absl::StatusOr<bool> EmulatedDevice::IsDone(const Event& event) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  const std::shared_ptr<Point> point = PointOf(event);
  if (point == nullptr) return true;
  const std::optional<absl::Status> status = point->status();
  if (!status) return false;
  KVFERRY_RETURN_IF_ERROR(*status);
  return true;
}

absl::Status EmulatedDevice::Synchronize(const Event& event) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  const std::shared_ptr<Point> point = PointOf(event);
  if (point == nullptr) return absl::OkStatus();
  return point->Wait();
}

absl::StatusOr<bool> EmulatedDevice::IsCapturing(void* stream) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<StreamQueue> queue,
                           QueueOf(stream));
  return queue->capturing();
}

// --- work -----------------------------------------------------------------

absl::Status EmulatedDevice::CheckReachable(const std::byte* address,
                                            uint64_t bytes, bool write) const {
  return DeviceRanges::OfThisProcess().Check(
      address, bytes,
      {context_->number(), report_.Has(kCapabilityPeer), write});
}

absl::Status EmulatedDevice::CopyAsync(std::span<const Copy> copies,
                                       void* stream) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<StreamQueue> queue,
                           QueueForWork(stream));
  for (const Copy& copy : copies) {
    if (copy.target == nullptr || copy.source == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "gpu: a copy of ", copy.bytes, " bytes from or to null"));
    }
  }
  PushWork(queue.get(),
           [copies = std::vector<Copy>(copies.begin(), copies.end())] {
             for (const Copy& copy : copies) {
               std::memcpy(copy.target, copy.source, copy.bytes);
             }
           });
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PreparedLayout>> EmulatedDevice::Prepare(
    EngineLayout layout) {
  KVFERRY_RETURN_IF_ERROR(Ready());
  KVFERRY_ASSIGN_OR_RETURN(TransferPlanner planner,
                           TransferPlanner::Create(layout));
  return std::make_unique<EmulatedLayout>(std::move(layout),
                                          std::move(planner));
}

absl::Status EmulatedDevice::Transfer(const PreparedLayout& layout,
                                      LayerRange layers,
                                      std::span<const PageTransfer> pages,
                                      void* stream, bool to_pages) {
  KVFERRY_ASSIGN_OR_RETURN(const std::shared_ptr<StreamQueue> queue,
                           QueueForWork(stream));
  const TransferPlanner& planner =
      static_cast<const EmulatedLayout&>(layout).planner();
  KVFERRY_ASSIGN_OR_RETURN(TransferPlan plan, planner.Plan(layers, pages));
  // Of the page's bytes, those of the layers need be there.
  const GroupSpec& group = layout.layout().group;
  const uint64_t layer_bytes = group.page_bytes() / group.layer_count;
  const uint64_t layer_count =
      layers.count == 0 ? group.layer_count - layers.first : layers.count;
  for (const PageTransfer& page : pages) {
    KVFERRY_RETURN_IF_ERROR(
        CheckReachable(page.page + layers.first * layer_bytes,
                       layer_count * layer_bytes, to_pages));
  }
  PushWork(queue.get(),
           [plan = std::move(plan), bases = planner.bases(), to_pages] {
             for (const TransferLaunch& launch : plan.launches) {
               RunLaunch(launch, bases, to_pages);
             }
           });
  return absl::OkStatus();
}

absl::Status EmulatedDevice::Gather(const PreparedLayout& layout,
                                    LayerRange layers,
                                    std::span<const PageTransfer> pages,
                                    void* stream) {
  return Transfer(layout, layers, pages, stream, true);
}

absl::Status EmulatedDevice::Scatter(const PreparedLayout& layout,
                                     LayerRange layers,
                                     std::span<const PageTransfer> pages,
                                     void* stream) {
  return Transfer(layout, layers, pages, stream, false);
}

}  // namespace kvferry::gpu
