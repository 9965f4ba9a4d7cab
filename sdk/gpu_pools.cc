#include "sdk/gpu_pools.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace kvferry::sdk {

using protocol::wire::GpuExport;
using protocol::wire::GpuPoolChangedT;

GpuPools::GpuPools(const protocol::IndexHeader* header, ResidenceUse use)
    : header_(header),
      map_(*header),
      use_(use),
      why_none_(absl::FailedPreconditionError(
          "GPU pools: this client has opened no device")) {
  UpdateUse(/*has_device=*/false);
}

// --- the device ----------------------------------------------------------

void GpuPools::UpdateUse(bool has_device) {
  has_device_.store(has_device, std::memory_order_release);
  used_.store(pool_count() > 0 && (has_device || use_ == ResidenceUse::kAny),
              std::memory_order_release);
}

void GpuPools::SetDevice(std::shared_ptr<gpu::Device> device) {
  MutexLock lock(&mutex_);
  device_ = std::move(device);
  why_none_ =
      pool_count() == 0
          ? absl::NotFoundError("GPU pools: the namespace has no GPU memory")
          : absl::UnavailableError(
                "GPU pools: the daemon has not passed any on yet");
  UpdateUse(/*has_device=*/true);
}

void GpuPools::SetNumber(uint32_t number) {
  for (uint32_t p = 1; p <= pool_count(); ++p) {
    const PoolMap::Pool& pool = map_.pool(p);
    if (pool.device != number) continue;
    own_pools_[pool.group].store(static_cast<uint8_t>(p),
                                 std::memory_order_release);
  }
}

void GpuPools::SetRefusal(absl::Status why) {
  MutexLock lock(&mutex_);
  why_none_ = std::move(why);
}

void GpuPools::ClearDevice() {
  for (auto& own : own_pools_) own.store(0, std::memory_order_release);
  MutexLock lock(&mutex_);
  UpdateUse(/*has_device=*/false);
  for (uint32_t p = 1; p <= pool_count(); ++p) LetGo(p);
  device_.reset();
  why_none_ = absl::FailedPreconditionError(
      "GPU pools: this client has closed its device");
}

std::shared_ptr<gpu::Device> GpuPools::device() const {
  MutexLock lock(&mutex_);
  return device_;
}

// --- memory that comes and goes ------------------------------------------

void GpuPools::LetGo(uint32_t pool) {
  imported_[pool - 1].store(0, std::memory_order_release);
  std::shared_ptr<const Imported>& memory = memories_[pool - 1];
  if (memory != nullptr) retired_.push_back({pool, std::move(memory)});
  memory.reset();
}

absl::Status GpuPools::Take(const GpuPoolChangedT& changed, UniqueFd fd) {
  if (changed.pool == 0 || changed.pool > pool_count()) {
    return absl::InvalidArgumentError(
        absl::StrCat("GPU pool ", changed.pool, ": the namespace has ",
                     pool_count(), ", numbered from 1"));
  }
  if (changed.export_ != GpuExport::None) {
    absl::Status imported = Import(changed, std::move(fd));
    if (imported.ok()) return imported;
    MutexLock lock(&mutex_);
    LetGo(changed.pool);
    if (!why_none_.ok()) why_none_ = imported;
    return imported;
  }
  MutexLock lock(&mutex_);
  LetGo(changed.pool);
  bool any = false;
  for (const auto& memory : memories_) any |= memory != nullptr;
  if (!any) {
    why_none_ = absl::UnavailableError(absl::StrCat(
        "GPU pool ", changed.pool, ": ",
        changed.reason.empty() ? "its memory is gone" : changed.reason));
  }
  return absl::OkStatus();
}

absl::Status GpuPools::Import(const GpuPoolChangedT& changed, UniqueFd fd) {
  const PoolMap::Pool& pool = map_.pool(changed.pool);
  const uint64_t bytes_needed = pool.block_count * pool.stride_bytes;
  if (changed.incarnation % 2 == 0 || changed.bytes < bytes_needed) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GPU pool ", changed.pool, ": incarnation ", changed.incarnation,
        " (must be odd) with ", changed.bytes, " bytes, its ", pool.block_count,
        " blocks need ", bytes_needed));
  }
  const std::shared_ptr<gpu::Device> device = this->device();
  if (device == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("GPU pool ", changed.pool, ": this client has no device"));
  }
  const gpu::DeviceReport& report = device->report();
  if (static_cast<int>(report.kind) != static_cast<int>(changed.kind)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU pool ", changed.pool, ": of kind ",
        protocol::wire::EnumNameDeviceKind(changed.kind),
        ", this client's device is of kind ", static_cast<int>(report.kind)));
  }
  // Another device's memory is read through this one.
  if (pool.device_uuid != report.uuid && !report.Has(gpu::kCapabilityPeer)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU pool ", changed.pool, ": another device's, and this one has no ",
        gpu::kCapabilityPeer, ": ",
        report.ReasonAgainst(gpu::kCapabilityPeer)));
  }
  gpu::ExportedMemory exported;
  exported.kind = changed.export_ == GpuExport::Descriptor
                      ? gpu::ExportedMemory::Kind::kDescriptor
                      : gpu::ExportedMemory::Kind::kHandle;
  exported.fd = std::move(fd);
  exported.handle = changed.handle;
  exported.bytes = changed.bytes;
  exported.owner_pid = static_cast<int>(changed.worker_pid);
  absl::StatusOr<std::unique_ptr<gpu::DeviceMemory>> memory =
      device->Import(exported);
  if (!memory.ok()) {
    return WithContext(memory.status(),
                       absl::StrCat("GPU pool ", changed.pool));
  }
  auto imported = std::make_shared<Imported>();
  imported->device = device;
  imported->memory = *std::move(memory);
  imported->incarnation = changed.incarnation;
  Enter(changed.pool, std::move(imported));
  return absl::OkStatus();
}

void GpuPools::Enter(uint32_t pool, std::shared_ptr<const Imported> imported) {
  MutexLock lock(&mutex_);
  LetGo(pool);
  const uint32_t incarnation = imported->incarnation;
  memories_[pool - 1] = std::move(imported);
  why_none_ = absl::OkStatus();
  imported_[pool - 1].store(incarnation, std::memory_order_release);
}

size_t GpuPools::Reclaim(
    absl::FunctionRef<bool(uint32_t first, uint32_t count)> pinned) {
  // Ended after the mutex is free: the driver may take its time.
  std::vector<std::shared_ptr<const Imported>> ended;
  MutexLock lock(&mutex_);
  if (retired_.empty()) return 0;
  // A match that was under way when the record went even has raised its pins
  // before it read the record again, or gives them back unused: its fence and
  // this one are in some order.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::erase_if(retired_, [&](Retired& retired) {
    const PoolMap::Pool& pool = map_.pool(retired.pool);
    if (retired.memory.use_count() > 1 ||
        pinned(pool.first_block, pool.block_count)) {
      return false;
    }
    ended.push_back(std::move(retired.memory));
    return true;
  });
  return retired_.size();
}

// --- queries -------------------------------------------------------------

UsablePools GpuPools::Usable() const {
  UsablePools usable;
  usable.gpu_first = has_device_.load(std::memory_order_acquire);
  for (uint32_t p = 1; p <= pool_count(); ++p) {
    uint32_t incarnation = 0;
    if (usable.gpu_first) {
      incarnation = ReachableIncarnation(p);
    } else if (const uint32_t recorded = Recorded(p); recorded % 2 == 1) {
      incarnation = recorded;
    }
    usable.incarnations[p - 1] = incarnation;
  }
  return usable;
}

bool GpuPools::AnyReachable() const {
  for (uint32_t p = 1; p <= pool_count(); ++p) {
    if (Reachable(p)) return true;
  }
  return false;
}

std::shared_ptr<const GpuPools::Imported> GpuPools::Find(uint32_t pool) const {
  if (pool == 0 || pool > pool_count()) return nullptr;
  MutexLock lock(&mutex_);
  const std::shared_ptr<const Imported>& memory = memories_[pool - 1];
  if (memory == nullptr || !Stands(pool, memory->incarnation)) return nullptr;
  return memory;
}

absl::Status GpuPools::status() const {
  if (AnyReachable()) return absl::OkStatus();
  MutexLock lock(&mutex_);
  if (!why_none_.ok()) return why_none_;
  return absl::UnavailableError("GPU pools: the memory of all of them is gone");
}

}  // namespace kvferry::sdk
