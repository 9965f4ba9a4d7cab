#ifndef KVFERRY_TESTS_SUPPORT_RAW_GPU_SESSION_H_
#define KVFERRY_TESTS_SUPPORT_RAW_GPU_SESSION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "kvferry/key.h"
#include "protocol/gpu_name.h"
#include "protocol/shm_layout.h"
#include "tests/support/raw_client.h"

namespace kvferry::test {

// A RawSession that keeps what the daemon says of segments and GPU pools, and
// looks into the index and host memory itself.
class RawGpuSession {
 public:
  // The last that was said of a pool.
  struct Pool {
    protocol::wire::GpuPoolChangedT changed;
    UniqueFd fd;
    uint32_t times_said = 0;

    bool there() const {
      return changed.export_ != protocol::wire::GpuExport::None;
    }
  };

  // Errors  those of the daemon
  static absl::StatusOr<std::unique_ptr<RawGpuSession>> Attach(
      const std::string& socket_path, const NamespaceSpec& spec,
      protocol::wire::Access access = protocol::wire::Access::Publish);

  RawSession& session() { return session_; }

  // Returns the number of the device.
  // Errors  those of the daemon
  absl::StatusOr<uint32_t> OpenGpu(const protocol::GpuUuid& uuid);

  // Takes messages in until `done`. False when `timeout` passed first, or the
  // daemon closed the connection.
  bool ReceiveUntil(const std::function<bool()>& done,
                    absl::Duration timeout = absl::Seconds(20));
  // Waits until all of the host's memory is populated and announced: before
  // that a begin may find no space.
  bool WaitForSegments();
  const std::map<uint32_t, Pool>& pools() const { return pools_; }
  // Waits until the pool has memory whose incarnation is at least this.
  bool WaitForPool(uint32_t pool, uint32_t incarnation = 1);

  // --- publishing ---

  // Opens a publication and begins the keys in the pool (0: the host), at most
  // twelve of them. Returns the blocks that the session is to write.
  // Errors  kFailedPrecondition  not all of them are its to write
  absl::StatusOr<std::vector<uint32_t>> Begin(uint32_t handle, uint32_t pool,
                                              std::span<const BlockKey> keys);
  void Commit(uint32_t handle, uint32_t count);
  // What a match that hit the key's host residence leaves for the daemon.
  void Touch(const BlockKey& key);

  // --- looking ---

  const protocol::IndexHeader& index() const {
    return *index_.At<protocol::IndexHeader>(0);
  }
  uint32_t Incarnation(uint32_t pool) const {
    return index().gpu_pools[pool - 1].incarnation.load();
  }
  // Residence words of a key; both kFree: it is not there.
  protocol::Residence Host(const BlockKey& key) const;
  protocol::Residence Gpu(const BlockKey& key) const;
  bool WaitForHost(const BlockKey& key);
  bool WaitForGpu(const BlockKey& key);
  bool WaitUntilGone(const BlockKey& key);
  // Of a block in the host's memory. Null: its segment was not announced.
  std::byte* HostBytes(uint32_t block);
  // Of a block in its pool.
  uint64_t PoolOffset(uint32_t block) const;

 private:
  struct Segment {
    uint32_t first_block = 0;
    uint32_t block_count = 0;
    uint64_t stride_bytes = 0;
    Mapping mapping;
  };

  absl::Status Take(protocol::wire::MessageT message,
                    std::vector<UniqueFd> fds);
  const protocol::Bucket* FindSlot(const BlockKey& key, uint32_t* slot) const;

  RawSession session_;
  Mapping index_;
  std::vector<Segment> segments_;
  std::map<uint32_t, Pool> pools_;
  uint64_t last_publication_ = 0;
};

// Keys that nobody else has made, in this process.
std::vector<BlockKey> FreshKeys(uint32_t count);

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_RAW_GPU_SESSION_H_
