#ifndef KVFERRY_SDK_ATTACHMENT_H_
#define KVFERRY_SDK_ATTACHMENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/fork_guard.h"
#include "base/mutex.h"
#include "kvferry/client.h"
#include "sdk/connection.h"
#include "sdk/gpu_pools.h"
#include "sdk/index_view.h"
#include "sdk/pin_table.h"
#include "sdk/progress_files.h"
#include "sdk/publish_channel.h"
#include "sdk/segment_table.h"
#include "sdk/session_files.h"
#include "sdk/touch_log.h"

namespace kvferry::sdk {

// One session under one epoch of the daemon: its connection, every mapping of
// it, and what works on them. A Client that attaches again makes a new one.
//
// Life cycle  1. Create   2. current in its ClientImpl   3. disconnected: its
//             frozen index still serves Match   4. retired: replaced by another
//             5. destroyed when no hazard names it, none of its pins stands and
//             no publication holds it (ClientImpl::Reclaim)
// Threads     any number
class Attachment {
 public:
  struct Options {
    absl::Duration spin = absl::Microseconds(20);
    int service_fd = -1;  // see PublishChannel::Options
    ResidenceUse residences = ResidenceUse::kHost;
  };

  // Takes up what the daemon answered to Attach.
  // Errors  as OpenSessionFiles
  static absl::StatusOr<std::shared_ptr<Attachment>> Create(
      std::unique_ptr<Connection> connection,
      const protocol::wire::AttachedT& attached, std::vector<UniqueFd> fds,
      const Options& options, absl::Time deadline);

  // Over memory that somebody else keeps, without a connection.
  Attachment(const SessionMemory& memory, const Options& options);

  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  const IndexView& index() const { return index_; }
  const PinTable& pins() const { return pins_; }
  const TouchLog& touches() const { return touches_; }
  SegmentTable& segments() { return segments_; }
  const SegmentTable& segments() const { return segments_; }
  const GpuPools& gpu_pools() const { return gpu_pools_; }
  GpuPools& gpu_pools() { return gpu_pools_; }
  PublishChannel& channel() { return channel_; }
  // nullptr when there is none (tests).
  Connection* connection() const { return connection_.get(); }

  // What a stream follows: a publication, and how far its writers are.
  // REQUIRES  slot < kPublicationSlots
  const protocol::PublicationRecord& publication(uint32_t slot) const {
    return publications_[slot];
  }
  // The progress file of a session of the namespace; see ProgressFiles.
  std::shared_ptr<const ProgressFile> FindProgress(uint8_t file) const {
    return progress_files_.Find(file);
  }
  std::shared_ptr<const ProgressFile> AskProgress(uint8_t file,
                                                  const ProgressFile* stale) {
    return progress_files_.Ask(connection_.get(), memory_.index->epoch, file,
                               stale);
  }
  ProgressFiles& progress_files() { return progress_files_; }
  const protocol::IndexHeader& header() const { return *memory_.index; }
  // How long a thread that waits polls before it sleeps.
  absl::Duration spin() const { return spin_; }

  // Not zero once the daemon is gone; a futex word for those who wait for
  // something that only it could have brought.
  const std::atomic<uint32_t>& lost() const { return lost_; }
  void MarkLost();

  bool forked() const { return fork_guard_.forked(); }
  // Whether the daemon voided this session's pins and grants.
  bool revoked() const {
    return memory_.daemon->revoked.load(std::memory_order_acquire) != 0;
  }
  const NamespaceInfo& info() const { return info_; }

  // Tells the daemon that this process works with `device`, imports go through
  // it, and matches prefer what it reaches. The pools' memory comes afterwards
  // (ServeGpu). That the daemon serves no such device, or gives this session
  // nothing, is no error: gpu_pools().status() says so.
  // Errors  kUnavailable, kDeadlineExceeded  the daemon is away
  absl::Status OpenGpu(std::shared_ptr<gpu::Device> device,
                       absl::Time deadline);
  // Undoes that, as far as this process goes.
  void CloseGpu();
  // Imports the memory of pools that the daemon has passed on, ends imports
  // that nobody uses any more. Blocking, on the driver: a background thread's.
  // Returns whether something is left that only time will end.
  bool ServeGpu();
  bool NeedsGpuService() const {
    return gpu_waiting_.load(std::memory_order_acquire);
  }

  // Takes in what the daemon has sent by now: maps new segments, notes pokes.
  // Does not block. A segment that cannot be mapped is left out (its blocks
  // are misses) and named by segment_status().
  void Drain();
  absl::Status segment_status();

  // Whether `block` is one of the group's that this session may have pinned:
  // in a GPU, or in host memory that is mapped, as asked for.
  bool HasBlock(uint32_t group, uint32_t block) {
    return block < index_.host_blocks()
               ? segments_.InGroup(group, block) && MapSegmentOf(group, block)
               : gpu_pools_.map().InGpu(group, block);
  }

  // Asks the daemon at most once for the segment of a block that has none
  // here. Returns whether it has now.
  bool MapSegmentOf(uint32_t group, uint32_t block) {
    if (segments_.IsMapped(group, block)) return true;
    Drain();
    return segments_.IsMapped(group, block);
  }

 private:
  Attachment(SessionFiles files, std::unique_ptr<Connection> connection,
             const Options& options);
  Attachment(const SessionMemory& memory, const Options& options,
             int doorbell_fd);

  // What a match reads comes first, together.
  SessionMemory memory_;
  IndexView index_;
  PinTable pins_;
  TouchLog touches_;
  SegmentTable segments_;
  GpuPools gpu_pools_;
  const ForkGuard fork_guard_;

  const protocol::PublicationRecord* const publications_;
  const absl::Duration spin_;
  std::atomic<uint32_t> lost_{0};
  ProgressFiles progress_files_;
  PublishChannel channel_;
  NamespaceInfo info_;
  SessionFiles files_;
  std::unique_ptr<Connection> connection_;
  // Held while a segment is on its way from the socket into the table, so that
  // whoever finds the socket empty finds the table complete.
  Mutex drain_mutex_;
  std::atomic<uint32_t> segments_taken_{0};  // announcements, mapped or not
  absl::Status segment_status_ ABSL_GUARDED_BY(drain_mutex_);
  std::vector<Connection::GpuPool> gpu_changes_ ABSL_GUARDED_BY(drain_mutex_);
  std::atomic<bool> gpu_waiting_{false};  // gpu_changes_ has some
  Mutex gpu_mutex_;  // one thread in ServeGpu; before drain_mutex_
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_ATTACHMENT_H_
