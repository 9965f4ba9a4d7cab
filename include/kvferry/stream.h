#ifndef KVFERRY_STREAM_H_
#define KVFERRY_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kvferry/export.h"
#include "kvferry/key.h"
#include "kvferry/paged.h"
#include "kvferry/ticket.h"

namespace kvferry {

class Client;
namespace sdk {
class GpuImpl;
class StreamState;
}  // namespace sdk

struct StreamOptions {
  uint32_t group = 0;
  // Valid tokens of the last key's block; 0: it is a full one.
  uint32_t tail_tokens = 0;
  // Takes blocks that are still being written. Without it the stream is a
  // match: what is ready now.
  bool include_in_flight = true;
  // What RedeemTicket said of the publication that brings the rest: keys that
  // it has not begun yet are waited for. Without it the stream follows, from
  // the first block that is in flight on, whatever publication that one has.
  PublicationHint publication;
};

// A prompt's blocks while they are being written: those that are ready, and
// those that a publication is still writing, followed chunk by chunk and layer
// by layer without asking the daemon.
//
//   | ok | ok | ok | layers 0..11 of 80 |  in flight   |  to come   |
//   0          ok_blocks()         layered_end()  block_count()  key_count()
//
// Life cycle  1. empty   2. Client::Match(keys, options, &stream)
//             3. Poll, WaitChunk, WaitLayer or PullTo; act on ok_blocks()
//             4. done(): everything is ok, or status() says why the rest never
//             will be   5. Release (or destroy, or Match again into it)
// Truth       ok_blocks() counts blocks whose bytes are whole and were so when
//             last looked at. Bytes copied out of a page are valid when the
//             block is among the ok ones of a look that began after the copy:
//             call Poll (or Confirm) once more after copying. PullTo does.
// Failure     When the publisher aborts, dies, misses its deadline, or ends
//             shorter, status() becomes an error and ok_blocks() does not grow
//             again: exactly the blocks that did not complete are missing. (It
//             shrinks only when the namespace is cleared, this session is
//             revoked, or a GPU's worker dies.) Match anew: another publisher
//             may have taken them over (standby).
// Memory      Blocks stay pinned until Release, also failed ones.
// GPU         A client with an opened Gpu follows blocks in GPU memory that it
//             reaches (Gpu::Follow copies them); their page() is empty. For
//             others a key whose bytes are in a GPU alone is to come: its copy
//             in host memory is made without being asked for, and is looked for
//             every 20 ms at least. The wait for it ends with the key: when the
//             GPU's worker dies, when the daemon gives the copy up, or, without
//             a daemon, after 1 s.
// Ownership   May outlive the Client's connection, not the Client.
// Threads     One thread at a time. event_fd() may be polled by another.
class KVFERRY_EXPORT PrefixStream {
 public:
  PrefixStream();
  PrefixStream(PrefixStream&&) noexcept;
  PrefixStream& operator=(PrefixStream&&) noexcept;
  ~PrefixStream();

  // --- what is there, as of the last look ---

  // Leading blocks that are whole.
  uint32_t ok_blocks() const;
  uint64_t ok_tokens() const;
  // Blocks [ok_blocks(), layered_end()) have their first ok_layers() layers.
  uint32_t layered_end() const;
  uint32_t ok_layers() const;
  // Blocks that have a place, whole or in flight: those that page() is of.
  uint32_t block_count() const;
  // Keys that were asked for.
  uint32_t key_count() const;
  // Nothing will change any more: all keys are ok, or status() is an error.
  bool done() const;
  // OK while under way and when all is well.
  // Errors  kAborted            a publisher gave a block up or died, the
  //                             namespace was cleared, the daemon revoked this
  //                             session, or the worker process of a GPU died
  //         kNotFound           the publication ended before it came to the
  //                             next key; or nobody is writing it
  //         kUnavailable        the daemon is away and the publisher with it
  //         kResourceExhausted  61,440 pins of one block by this session
  absl::Status status() const;

  // One page, read-only: bytes of a block that is ok, or its first ok_layers()
  // layers. Empty when there is none, or it is in a GPU.
  std::span<const std::byte> page(uint32_t block, uint32_t slice = 0) const;

  // --- looking and waiting ---

  // Looks once; does not wait for anything to come. The first look at a writer
  // may ask the daemon for its file: one round trip, 20 ms at most.
  // Returns whether anything changed.
  bool Poll();

  // Waits until `blocks` leading blocks are ok.
  // Errors  status(), when it comes to that first
  //         kDeadlineExceeded  the stream goes on
  //         kInvalidArgument   blocks beyond key_count()
  absl::Status WaitChunk(uint32_t blocks, absl::Time deadline);
  // Waits until `blocks` leading blocks have their first `layers` layers.
  // Errors  as WaitChunk; kInvalidArgument  layers beyond the group's
  absl::Status WaitLayer(uint32_t blocks, uint32_t layers, absl::Time deadline);
  // Waits until all keys are ready for everybody: the daemon has them as
  // committed, and a plain Match by this client hits them.
  // Errors  as WaitChunk
  absl::Status WaitCommitted(absl::Time deadline);
  // Waits until anything changes, or the stream is done.
  absl::Status WaitChange(absl::Time deadline);

  // A descriptor that is readable (level) when something may have changed since
  // the last Poll, for engines with an event loop of their own. The stream's;
  // do not read or close it. The first call of a Client starts a thread.
  // Errors  kResourceExhausted, as ErrnoStatus
  absl::StatusOr<int> event_fd();

  // Of the first `blocks` blocks, how many may be used: still what they were
  // when they were ok. Call it after the last copy out of them.
  // Cost  three loads a block
  uint32_t Confirm(uint32_t blocks);

  // --- copying ---

  // Takes `bytes`, layers [layer, layer + layers) of one page, to where the
  // engine wants them. May be called for a page's layers in several parts, in
  // order, and again from the first layer on: the last whole set counts.
  using CopyOut =
      std::function<void(uint32_t block, uint32_t slice, uint32_t layer,
                         uint32_t layers, std::span<const std::byte> bytes)>;
  struct PullOptions {
    // Slices to copy: [slice_first, slice_first + slice_count), 0: all.
    uint32_t slice_first = 0;
    uint32_t slice_count = 0;
    // Copies layers of the current chunk as they come; else whole blocks.
    bool by_layer = true;
  };
  // Copies what has come since the last call, does not wait, and returns
  // whether it copied anything. copied_blocks() moves on.
  bool PullSome(const PullOptions& options, const CopyOut& copy);
  // Copies until every key is copied, or the stream fails.
  // Errors  as WaitChunk; kFailedPrecondition  a block in a GPU. In each case
  // copied_blocks() says what is there.
  absl::Status PullTo(const PullOptions& options, const CopyOut& copy,
                      absl::Time deadline);
  // The same into the engine's blocks, one for each key (kNoEngineBlock:
  // skipped). With no slices named: those that `memory` has.
  // Errors  also kInvalidArgument  counts differ, a group unlike memory's, a
  //                                block or slice that the memory has not
  absl::Status PullTo(const PullOptions& options, const PagedMemory& memory,
                      std::span<const uint64_t> engine_blocks,
                      absl::Time deadline);
  // Leading blocks that are copied and were confirmed after their copy: ok so
  // far, whatever becomes of the rest.
  uint32_t copied_blocks() const;
  // Blocks beyond them, up to layered_end(), have this many layers copied.
  // Not confirmed before the whole block is.
  uint32_t copied_layers() const;

  // --- hand-over data ---

  // What the publisher set with Publication::SetHandOver. Complete when the
  // stream is done and status() is OK.
  // Errors  kNotFound  it set none, or the publication has ended and its place
  //                    is taken: RedeemTicket has a copy
  absl::StatusOr<std::string> hand_over() const;

  // Gives the pins back.
  void Release();

 private:
  friend class Client;
  friend class sdk::GpuImpl;
  std::unique_ptr<sdk::StreamState> state_;
};

}  // namespace kvferry

#endif  // KVFERRY_STREAM_H_
