#ifndef KVFERRY_SDK_GPU_GPU_IMPL_H_
#define KVFERRY_SDK_GPU_GPU_IMPL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fork_guard.h"
#include "base/mutex.h"
#include "gpu/device.h"
#include "kvferry/client.h"
#include "kvferry/gpu.h"
#include "sdk/attachment.h"
#include "sdk/gpu/host_registrar.h"
#include "sdk/gpu/stream_follower.h"
#include "sdk/gpu/transfer_engine.h"

namespace kvferry::sdk {

// A Gpu: what a client's blocks and an engine's blocks have to do with each
// other. Checks calls, finds pages (PageFinder), and has the TransferEngine
// copy; what is due when a copy has landed is in each transfer's finisher.
//
//   PullTo       pins stand until the reaper has checked them after the copy
//   PublishFrom  a PublishLine commits, in the order of the calls
//   Follow       the StreamFollower gives the device what has come
//
// Every transfer keeps what its device work touches: pins or a hold, pools'
// memory, registered segments, prepared layouts. It lets go of them on the
// thread that finds the work ended, and only then counts as ended.
//
// Threads  as Gpu
class GpuImpl {
 public:
  // What it needs of a client.
  struct Environment {
    std::function<std::shared_ptr<Attachment>()> attachment;
    std::function<absl::Status(std::shared_ptr<gpu::Device>)> set_device;
    std::function<void()> clear_device;
  };

  static absl::StatusOr<std::unique_ptr<GpuImpl>> Open(
      Client* client, const GpuOptions& options);
  static absl::StatusOr<std::unique_ptr<GpuImpl>> Create(
      std::shared_ptr<gpu::Device> device, Environment environment,
      const GpuOptions& options);
  ~GpuImpl();
  GpuImpl(const GpuImpl&) = delete;
  GpuImpl& operator=(const GpuImpl&) = delete;

  bool forked() const { return fork_guard_.forked(); }
  const gpu::DeviceReport& report() const { return device_->report(); }
  absl::Status pool_status() const;

  // See Gpu.
  absl::StatusOr<GpuTransfer> PullTo(PinnedPrefix* prefix,
                                     std::span<const GpuPull> pulls,
                                     void* stream,
                                     const GpuPullOptions& options);
  absl::StatusOr<GpuTransfer> Follow(PrefixStream* prefix, const GpuPull& pull,
                                     void* stream,
                                     const GpuPullOptions& options) {
    return Follow(&prefix->state_, pull, stream, options);
  }
  absl::StatusOr<GpuTransfer> Follow(std::unique_ptr<StreamState>* prefix,
                                     const GpuPull& pull, void* stream,
                                     const GpuPullOptions& options);
  absl::StatusOr<GpuTransfer> PublishFrom(
      Publication* publication, uint32_t first, const PagedMemory& memory,
      std::span<const uint64_t> engine_blocks, void* stream,
      const GpuPublishOptions& options) {
    return PublishFrom(publication->state_.get(), first, memory, engine_blocks,
                       stream, options);
  }
  absl::StatusOr<GpuTransfer> PublishFrom(
      PublicationState* state, uint32_t first, const PagedMemory& memory,
      std::span<const uint64_t> engine_blocks, void* stream,
      const GpuPublishOptions& options);
  std::byte* DevicePage(const PinnedPrefix& prefix, uint32_t position,
                        uint32_t slice, uint32_t group) const;
  std::byte* DevicePage(Publication* publication, uint32_t position,
                        uint32_t slice);

  // For tests.
  HostRegistrar& registrar() { return registrar_; }

 private:
  struct PullState;

  GpuImpl(std::shared_ptr<gpu::Device> device, Environment environment);

  // gpu_pull.cc
  static absl::Status CheckPull(const PinnedPrefix& prefix,
                                const GpuPull& pull);
  absl::Status PlanPull(const PinnedPrefix& prefix,
                        std::span<const GpuPull> pulls, PageFinder* finder,
                        TransferEngine::Plan* plan);
  void FinishPull(PullState* state, GpuOperation* operation);

  // gpu_follow.cc
  void FinishFollow(FollowTask* task, GpuOperation* operation);

  // gpu_publish.cc
  absl::Status CheckPublish(PublicationState* state, uint32_t first,
                            const PagedMemory& memory,
                            std::span<const uint64_t> engine_blocks,
                            const GpuPublishOptions& options) const;

  // gpu_impl.cc
  std::unique_ptr<PageFinder> MakeFinder(Attachment* attachment) const;
  static std::byte* InDevice(const BlockPlace& place, uint64_t offset);

  const ForkGuard fork_guard_;
  const std::shared_ptr<gpu::Device> device_;
  const Environment environment_;
  bool device_set_ = false;
  std::unique_ptr<TransferEngine> engine_;
  HostRegistrar registrar_;
  std::unique_ptr<StreamFollower> follower_;

  // Memory of pools in which DevicePage has told of pages to be written.
  Mutex mutex_;
  std::map<uint32_t, std::unique_ptr<PageFinder>> written_directly_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_GPU_GPU_IMPL_H_
