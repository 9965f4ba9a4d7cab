#ifndef KVFERRY_GPU_H_
#define KVFERRY_GPU_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kvferry/client.h"
#include "kvferry/export.h"
#include "kvferry/match.h"
#include "kvferry/paged.h"
#include "kvferry/publish.h"
#include "kvferry/stream.h"

namespace kvferry {

namespace sdk {
class GpuImpl;
class GpuOperation;
}  // namespace sdk

struct GpuOptions {
  // The device that the engine computes on: "" is the calling thread's current
  // CUDA device; "N" an ordinal as this process counts them; "GPU-..." a UUID;
  // "emulated:N" the emulated device, for tests without a GPU.
  std::string device;
  // Queues that copies are spread over, each way. At most 8.
  uint32_t side_streams = 2;
  // Register the namespace's host memory with the device, in the background, so
  // that copies from and to it need no staging.
  bool register_host_memory = true;
  // What pulls and publications out of host memory that is not registered (yet)
  // go through.
  uint64_t staging_bytes = uint64_t{64} << 20;
};

// An engine's queue of GPU work: a cudaStream_t. Null is the device's default
// stream (of an emulated device, too).
struct GpuStream {
  void* handle = nullptr;
};

// A copy under way. A value: its copies stand for the same work, which goes on
// when all of them are gone.
//
// Every transfer ends by itself: done, or failed with the first error. The
// engine's blocks, and the pages, are the transfer's until then.
//
// Threads  any number at once
class KVFERRY_EXPORT GpuTransfer {
 public:
  GpuTransfer() = default;

  // Whether it has ended. Cost  one load
  bool done() const;
  // Errors  kUnavailable  not done yet
  //         kAborted      bytes cannot be trusted: the session was revoked, the
  //                       GPU's worker died, a publisher gave up; a miss
  //         as the device says
  absl::Status status() const;
  // Blocking, on the processor; then as status().
  // Errors  also kDeadlineExceeded  it is still under way
  absl::Status Wait(absl::Time deadline = absl::InfiniteFuture()) const;

  // What `stream` is given from here on begins when the first `layers` layers
  // have landed (0: all of them). The bytes are only to be trusted if status()
  // turns out well: check it before the tokens that were computed from them
  // leave the engine.
  // Blocking  not on the device. On the processor only until those layers have
  //           been given to the device (launched_layers()): at once, but for
  //           host memory that is not registered, and for Gpu::Follow what is
  //           not written yet
  // Errors    kFailedPrecondition  the stream is being captured for a graph
  //           as status()          it has failed already
  absl::Status OrderAfter(GpuStream stream, uint32_t layers = 0) const;
  // Leading layers for which OrderAfter does not wait on the processor.
  uint32_t launched_layers() const;

  // Positions of a pull that failed, or of a publication that were not to be
  // written (they exist, are in flight, there was no space): valid when done.
  std::vector<uint32_t> skipped() const;
  uint64_t bytes() const;  // of those that were copied

 private:
  friend class sdk::GpuImpl;
  explicit GpuTransfer(std::shared_ptr<sdk::GpuOperation> operation)
      : operation_(std::move(operation)) {}
  std::shared_ptr<sdk::GpuOperation> operation_;
};

// What goes where, of one group.
struct GpuPull {
  uint32_t group = 0;
  const PagedMemory* memory = nullptr;  // of device addresses
  uint32_t first = 0;                   // position of the first block
  std::span<const uint64_t> engine_blocks;
  uint32_t last_tokens = 0;  // of the last block; 0: all
};

struct GpuPullOptions {
  // Layers whose landing OrderAfter can tell apart: 0 asks for all at once,
  // n for pieces of n layers. Follow copies whole blocks with 0; else also the
  // layers of blocks that are not whole yet, n or more at a time.
  uint32_t layers_a_piece = 0;
};

struct GpuPublishOptions {
  // Of every page, layers [first_layer, first_layer + layer_count) (0: to the
  // last). With less than all of them: parts of one chunk, in order from layer
  // 0. Each is told to readers as Publication::CommitLayers does; with the last
  // the positions are committed.
  uint32_t first_layer = 0;
  uint32_t layer_count = 0;
  uint32_t last_tokens = 0;  // of the last block; 0: all
  // Commit the positions as soon as their bytes are there. Without it (slices
  // that come from several memories) the last call, or the caller once the
  // transfer is done, commits.
  bool commit = true;
};

// One device of this process, opened for a client: pulls blocks into, and
// publishes them from, the engine's paged tensors in device memory, on streams
// of its own.
//
// From Open on the client's matches pin GPU residences that this process can
// reach before host ones, and publications with `residence` kGpu write into the
// GPU's pool. The namespace's pools are imported once, in the background.
//
// Order       Copies begin when what `stream` had been given before the call is
//             done, and touch nothing before. The engine's stream does not wait
//             for them unless it says so (GpuTransfer::OrderAfter).
// Pins        A pull holds its pins until its last byte has landed; one thread
//             of the SDK, the reaper, gives them back and commits what was
//             published.
// Capturing   A stream that is being captured for a CUDA graph is refused.
// Life cycle  1. Client::Attach   2. Open   3. use   4. destroy: waits until
//             its transfers have ended. Before the Client.
// Threads     any number at once, but a Publication has one user at a time:
//             PublishFrom counts as one, and its commit by the reaper does not
//             disturb the next.
// Fork        every call in a forked child is refused
class KVFERRY_EXPORT Gpu {
 public:
  // Errors  kUnimplemented       this build has no CUDA
  //         kUnavailable         no driver or device, or too old a one; no
  //                              daemon
  //         kNotFound            no such device
  //         A daemon that does not serve the device is no error: blocks are
  //         then in host memory, and pool_status() says so.
  //         kAlreadyExists       this client has one
  static absl::StatusOr<std::unique_ptr<Gpu>> Open(
      Client* client, const GpuOptions& options = {});
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  // The device's UUID and name, and whether it is emulated.
  std::string device_uuid() const;
  std::string device_name() const;
  bool emulated() const;
  // Whether the namespace has GPU memory that this process has imported.
  bool has_pool() const;
  // Why not; Ok: it has.
  absl::Status pool_status() const;

  // Copies pinned blocks into the engine's. `prefix` is taken over and left
  // empty. With several pulls, of one group each. What pulls name need not
  // outlive the call, but for the engine's memory itself.
  // Errors  kInvalidArgument     as PinnedPrefix::CopyTo; a group twice
  //         kAborted             the pins were revoked, or their memory is gone
  //         kFailedPrecondition  the stream is being captured
  //         kResourceExhausted   4,096 transfers under way, or too many events
  //         kUnavailable         the device is broken
  //         On error nothing was begun, and `prefix` is as it was.
  absl::StatusOr<GpuTransfer> PullTo(PinnedPrefix&& prefix,
                                     std::span<const GpuPull> pulls,
                                     GpuStream stream,
                                     const GpuPullOptions& options = {});
  absl::StatusOr<GpuTransfer> PullTo(PinnedPrefix&& prefix, const GpuPull& pull,
                                     GpuStream stream,
                                     const GpuPullOptions& options = {}) {
    return PullTo(std::move(prefix), {&pull, 1}, stream, options);
  }

  // Copies the blocks of a prompt into the engine's while they are still being
  // written: each piece as soon as its chunk, or its layers, are there, until
  // the stream has ended. `prefix` is taken over and left empty. Positions that
  // did not come are skipped() and make the transfer kAborted. The Gpu's end
  // ends it, too. One thread follows all streams.
  // Shape   pull.first is 0, and engine_blocks has one for each key
  // Errors  as PullTo
  absl::StatusOr<GpuTransfer> Follow(PrefixStream&& prefix, const GpuPull& pull,
                                     GpuStream stream,
                                     const GpuPullOptions& options = {});

  // Copies positions [first, first + engine_blocks.size()) of the publication
  // from the engine's blocks (kNoEngineBlock: left alone), and commits them
  // once they are there, after what was begun before for the publication.
  // Positions that are not to be written are skipped; those of a transfer that
  // fails are aborted. The publication may go on meanwhile; what ends it
  // (Close, Abort, its destructor) waits until the device is done. Errors  as
  // Publication::Fill; also kInvalidArgument: layers out of order
  //         kFailedPrecondition, kResourceExhausted, kUnavailable as PullTo
  absl::StatusOr<GpuTransfer> PublishFrom(
      Publication* publication, uint32_t first, const PagedMemory& memory,
      std::span<const uint64_t> engine_blocks, GpuStream stream,
      const GpuPublishOptions& options = {});

  // Where a kernel of the engine's own may read or write a page, instead of
  // having it copied: a device address, null when the device does not reach it
  // (now). Good while the prefix is pinned, or the position being written.
  std::byte* DevicePage(const PinnedPrefix& prefix, uint32_t position,
                        uint32_t slice = 0, uint32_t group = 0) const;
  std::byte* DevicePage(Publication* publication, uint32_t position,
                        uint32_t slice) const;

 private:
  explicit Gpu(std::unique_ptr<sdk::GpuImpl> impl);
  std::unique_ptr<sdk::GpuImpl> impl_;
};

}  // namespace kvferry

#endif  // KVFERRY_GPU_H_
