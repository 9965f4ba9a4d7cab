#ifndef KVFERRY_SDK_CLIENT_IMPL_H_
#define KVFERRY_SDK_CLIENT_IMPL_H_

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/fork_guard.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "kvferry/client.h"
#include "kvferry/options.h"
#include "sdk/attachment.h"
#include "sdk/stream_watcher.h"

namespace kvferry::sdk {

// What every call answers in a forked child.
absl::Status ForkedError();

// A Client: the current attachment, those that are not needed any more, and the
// thread that looks after them.
//
// The background thread takes in what the daemon says, notices that it is
// gone (the session's publishing half becomes void, matching goes on), attaches
// again with backoff, and unmaps old attachments (sdk/hazard.h).
//
// Threads  any number, besides the background thread
class ClientImpl {
 public:
  static absl::StatusOr<std::unique_ptr<ClientImpl>> Attach(
      const AttachOptions& options);
  ~ClientImpl();
  ClientImpl(const ClientImpl&) = delete;
  ClientImpl& operator=(const ClientImpl&) = delete;

  bool forked() const { return fork_guard_.forked(); }
  // For the hot path, under a HazardGuard. Never null.
  const std::atomic<Attachment*>& current() const { return current_; }
  // For everything else.
  std::shared_ptr<Attachment> attachment() const;

  bool connected() const { return connected_.load(std::memory_order_acquire); }
  const AttachOptions& options() const { return options_; }

  // Has matches prefer, and publications use, the memory of `device`, here and
  // in every later attachment; its pools are imported in the background. What
  // the daemon gives of it is attachment()->gpu_pools().status().
  // Errors  kAlreadyExists  there is one
  //         kUnavailable, kDeadlineExceeded  the daemon is away; nothing is set
  absl::Status SetGpu(std::shared_ptr<gpu::Device> device, absl::Time deadline);
  // Lets go of it. Memory that is pinned or held stays until it is not.
  void ClearGpu();

  // What tells this Client's streams of changes by their event descriptors.
  const std::shared_ptr<StreamWatcher>& stream_watcher() const {
    return stream_watcher_;
  }

  // Attachments that were replaced and are still mapped, for tests.
  uint32_t retired_count() const;

 private:
  explicit ClientImpl(const AttachOptions& options);

  // One attempt.
  absl::StatusOr<std::shared_ptr<Attachment>> AttachOnce(
      absl::Time deadline) const;
  absl::Status WaitForMemory(Attachment* attachment, absl::Time deadline) const;

  // The background thread.
  void Run();
  void Serve(Attachment* attachment);
  void Reattach(absl::Duration* backoff);
  // Waits for the socket (-1: none), the wake eventfd, or `timeout`.
  void Poll(int socket, absl::Duration timeout);
  // As the current one; opens the device there first, if there is one.
  void Install(std::shared_ptr<Attachment> attachment);
  // Unmaps retired attachments that nobody can reach.
  void Reclaim();
  bool stopping() const { return stopping_.load(std::memory_order_acquire); }

  AttachOptions options_;
  const ForkGuard fork_guard_;
  std::atomic<Attachment*> current_{nullptr};
  std::atomic<bool> connected_{false};
  std::atomic<bool> stopping_{false};
  bool can_reclaim_ = false;
  bool gpu_pending_ = false;   // the background thread's: see ServeGpu
  bool default_path_ = false;  // nobody named the socket
  UniqueFd wake_;

  mutable Mutex mutex_;
  std::shared_ptr<Attachment> owner_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Attachment>> retired_ ABSL_GUARDED_BY(mutex_);

  // Held over a change of device_ and what the attachments are told of it, so
  // that none is installed with another. Before mutex_.
  mutable Mutex device_mutex_;
  std::shared_ptr<gpu::Device> device_ ABSL_GUARDED_BY(device_mutex_);

  const std::shared_ptr<StreamWatcher> stream_watcher_ =
      std::make_shared<StreamWatcher>();
  std::thread background_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_CLIENT_IMPL_H_
