#include "sdk/gpu/gpu_impl.h"

#include <utility>

#include "base/status.h"
#include "sdk/client_impl.h"
#include "sdk/publication_state.h"

namespace kvferry::sdk {
namespace {

// How long the daemon may take to answer that it knows of the device.
constexpr absl::Duration kOpenTimeout = absl::Seconds(5);

}  // namespace

GpuImpl::GpuImpl(std::shared_ptr<gpu::Device> device, Environment environment)
    : device_(std::move(device)),
      environment_(std::move(environment)),
      registrar_(device_.get(), environment_.attachment) {}

absl::StatusOr<std::unique_ptr<GpuImpl>> GpuImpl::Open(
    Client* client, const GpuOptions& options) {
  ClientImpl* const impl = client->impl_.get();
  if (impl->forked()) return ForkedError();
  KVFERRY_ASSIGN_OR_RETURN(std::shared_ptr<gpu::Device> device,
                           gpu::OpenDevice(options.device));
  return Create(std::move(device),
                {.attachment = [impl] { return impl->attachment(); },
                 .set_device =
                     [impl](std::shared_ptr<gpu::Device> opened) {
                       return impl->SetGpu(std::move(opened),
                                           absl::Now() + kOpenTimeout);
                     },
                 .clear_device = [impl] { impl->ClearGpu(); }},
                options);
}

absl::StatusOr<std::unique_ptr<GpuImpl>> GpuImpl::Create(
    std::shared_ptr<gpu::Device> device, Environment environment,
    const GpuOptions& options) {
  std::unique_ptr<GpuImpl> gpu(
      new GpuImpl(std::move(device), std::move(environment)));
  KVFERRY_ASSIGN_OR_RETURN(gpu->engine_,
                           TransferEngine::Create(gpu->device_, options));
  gpu->follower_ = std::make_unique<StreamFollower>(gpu->engine_.get());
  // Before the first page can be found in a pool.
  KVFERRY_RETURN_IF_ERROR(gpu->environment_.set_device(gpu->device_));
  gpu->device_set_ = true;
  KVFERRY_RETURN_IF_ERROR(gpu->registrar_.Start(options.register_host_memory));
  return gpu;
}

GpuImpl::~GpuImpl() {
  // Streams first: they would go on as long as their publishers do.
  if (follower_ != nullptr) follower_->Stop();
  if (engine_ != nullptr) engine_->Drain();
  registrar_.Stop();
  {
    MutexLock lock(&mutex_);
    written_directly_.clear();
  }
  if (device_set_) environment_.clear_device();
}

absl::Status GpuImpl::pool_status() const {
  if (forked()) return ForkedError();
  return environment_.attachment()->gpu_pools().status();
}

std::unique_ptr<PageFinder> GpuImpl::MakeFinder(Attachment* attachment) const {
  return std::make_unique<PageFinder>(attachment, registrar_.memory());
}

std::byte* GpuImpl::InDevice(const BlockPlace& place, uint64_t offset) {
  return place.home == BlockHome::kNowhere || place.home == BlockHome::kStaged
             ? nullptr
             : place.address + offset;
}

std::byte* GpuImpl::DevicePage(const PinnedPrefix& prefix, uint32_t position,
                               uint32_t slice, uint32_t group) const {
  if (forked() || prefix.attachment_ == nullptr) return nullptr;
  const uint32_t block = prefix.BlockAt(position, group);
  if (block == protocol::kNoBlock) return nullptr;
  const GpuPools& pools = prefix.attachment_->gpu_pools();
  const protocol::GroupRecord& record =
      prefix.attachment_->segments().group(group);
  if (slice >= record.slice_count) return nullptr;
  const uint32_t pool = pools.PoolOf(block);
  const std::unique_ptr<PageFinder> finder = MakeFinder(prefix.attachment_);
  // The pool's memory stays while a block of it is pinned.
  return InDevice(
      finder->Find(group, block, pool == 0 ? 0 : prefix.IncarnationOf(pool)),
      slice * record.page_bytes);
}

std::byte* GpuImpl::DevicePage(Publication* publication, uint32_t position,
                               uint32_t slice) {
  PublicationState* const state = publication->state_.get();
  if (forked() || state == nullptr || position >= state->size()) {
    return nullptr;
  }
  const PublicationEntry entry = state->Look(position);
  if (PublicationState::ResidenceOf(entry) == BlockResidence::kNone) {
    return nullptr;
  }
  const protocol::GroupRecord& record =
      state->attachment()->segments().group(entry.group);
  if (slice >= record.slice_count ||
      (state->SlicesOf(record) >> slice & 1) == 0) {
    return nullptr;
  }
  const uint32_t pool = state->attachment()->gpu_pools().PoolOf(entry.block);
  std::unique_ptr<PageFinder> finder = MakeFinder(state->attachment().get());
  std::byte* const page = InDevice(finder->Find(entry.group, entry.block),
                                   slice * record.page_bytes);
  if (page == nullptr || pool == 0) return page;
  // A kernel of the engine's may write there after the pool's memory went.
  std::unique_ptr<PageFinder> before;
  MutexLock lock(&mutex_);
  before = std::exchange(written_directly_[pool], std::move(finder));
  return page;
}

}  // namespace kvferry::sdk
