#include "kvferry/gpu.h"

#include <utility>

#include "base/status.h"
#include "sdk/client_impl.h"
#include "sdk/gpu/gpu_impl.h"
#include "sdk/gpu/gpu_operation.h"

namespace kvferry {
namespace {

absl::Status EmptyError() {
  return absl::FailedPreconditionError("gpu: an empty transfer");
}

}  // namespace

// --- GpuTransfer ---------------------------------------------------------

bool GpuTransfer::done() const {
  return operation_ == nullptr || operation_->done();
}
absl::Status GpuTransfer::status() const {
  return operation_ == nullptr ? EmptyError() : operation_->status();
}
absl::Status GpuTransfer::Wait(absl::Time deadline) const {
  return operation_ == nullptr ? EmptyError() : operation_->Wait(deadline);
}
absl::Status GpuTransfer::OrderAfter(GpuStream stream, uint32_t layers) const {
  return operation_ == nullptr ? EmptyError()
                               : operation_->OrderAfter(stream.handle, layers);
}
uint32_t GpuTransfer::launched_layers() const {
  return operation_ == nullptr ? 0 : operation_->launched_layers();
}
std::vector<uint32_t> GpuTransfer::skipped() const {
  if (operation_ == nullptr) return {};
  return operation_->skipped();
}
uint64_t GpuTransfer::bytes() const {
  return operation_ == nullptr ? 0 : operation_->bytes();
}

// --- Gpu -----------------------------------------------------------------

Gpu::Gpu(std::unique_ptr<sdk::GpuImpl> impl) : impl_(std::move(impl)) {}

Gpu::~Gpu() {
  // In a forked child nothing of it works; it is the parent's to undo.
  if (impl_->forked()) (void)impl_.release();
}

absl::StatusOr<std::unique_ptr<Gpu>> Gpu::Open(Client* client,
                                               const GpuOptions& options) {
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<sdk::GpuImpl> impl,
                           sdk::GpuImpl::Open(client, options));
  return std::unique_ptr<Gpu>(new Gpu(std::move(impl)));
}

std::string Gpu::device_uuid() const {
  const gpu::DeviceReport& report = impl_->report();
  return gpu::UuidToString(report.kind, report.uuid);
}
std::string Gpu::device_name() const { return impl_->report().name; }
bool Gpu::emulated() const {
  return impl_->report().kind == gpu::DeviceKind::kEmulated;
}
bool Gpu::has_pool() const { return impl_->pool_status().ok(); }
absl::Status Gpu::pool_status() const { return impl_->pool_status(); }

absl::StatusOr<GpuTransfer> Gpu::PullTo(PinnedPrefix&& prefix,
                                        std::span<const GpuPull> pulls,
                                        GpuStream stream,
                                        const GpuPullOptions& options) {
  return impl_->PullTo(&prefix, pulls, stream.handle, options);
}

absl::StatusOr<GpuTransfer> Gpu::Follow(PrefixStream&& prefix,
                                        const GpuPull& pull, GpuStream stream,
                                        const GpuPullOptions& options) {
  return impl_->Follow(&prefix, pull, stream.handle, options);
}

absl::StatusOr<GpuTransfer> Gpu::PublishFrom(
    Publication* publication, uint32_t first, const PagedMemory& memory,
    std::span<const uint64_t> engine_blocks, GpuStream stream,
    const GpuPublishOptions& options) {
  return impl_->PublishFrom(publication, first, memory, engine_blocks,
                            stream.handle, options);
}

std::byte* Gpu::DevicePage(const PinnedPrefix& prefix, uint32_t position,
                           uint32_t slice, uint32_t group) const {
  return impl_->DevicePage(prefix, position, slice, group);
}
std::byte* Gpu::DevicePage(Publication* publication, uint32_t position,
                           uint32_t slice) const {
  return impl_->DevicePage(publication, position, slice);
}

}  // namespace kvferry
