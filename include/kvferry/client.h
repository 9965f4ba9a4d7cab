#ifndef KVFERRY_CLIENT_H_
#define KVFERRY_CLIENT_H_

#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "kvferry/copy.h"
#include "kvferry/export.h"
#include "kvferry/key.h"
#include "kvferry/layout.h"
#include "kvferry/lookup.h"
#include "kvferry/match.h"
#include "kvferry/options.h"
#include "kvferry/paged.h"
#include "kvferry/publish.h"
#include "kvferry/stream.h"
#include "kvferry/ticket.h"

// KVFerry's client SDK. Start here.
//
//   client.h   attach to the node's daemon; match, publish, tickets
//   key.h      names of blocks, from tokens or from an engine's digests
//   layout.h   what a namespace, a group and a page are
//   match.h    the pins of a hit
//   lookup.h   asking what is there, without taking it
//   publish.h  writing blocks
//   stream.h   reading blocks while they are written
//   ticket.h   handing pinned blocks to another process
//   gpu.h      copies between blocks and an engine's GPU memory
//   paged.h    an engine's paged memory, and copies between it and pages
//   copy.h     the same page by page
//   options.h  how to attach
//   admin.h    what kvferryctl asks the daemon
//
// Source compatibility is promised within a major version (before 1.0: within a
// minor one), binary compatibility is not (docs/decisions/0002-sdk-promise.md).
namespace kvferry {

namespace sdk {
class ClientImpl;
class GpuImpl;
}  // namespace sdk

// What the daemon said of the namespace at attach.
struct NamespaceInfo {
  NamespaceSpec spec;
  NamespaceSalt salt{};
  uint64_t epoch = 0;  // of the daemon
  uint64_t namespace_id = 0;
  uint32_t session = 0;
  // Blocks of host memory, of all groups: every key has one.
  uint32_t block_capacity = 0;
  // Blocks of GPU memory, of all groups and devices.
  uint32_t gpu_block_capacity = 0;
  uint64_t quota_bytes = 0;
};

// One process's session with the node's daemon, in one namespace.
//
// After the daemon went away Match goes on in the frozen index (nothing is
// reused while nobody is there) and everything that needs the daemon answers
// kUnavailable; a background thread attaches again when it is back, under a
// new epoch, and old mappings go with their last pin.
//
// Threads  Thread-safe. Owns one background thread.
// Fork     In a forked child every call answers kFailedPrecondition; attach
//          anew there.
class KVFERRY_EXPORT Client {
 public:
  // Errors  kInvalidArgument     a malformed specification, named
  //         kFailedPrecondition  the namespace exists with another fingerprint,
  //                              page size or slice count: both are named
  //         kNotFound            no such namespace, and not created
  //         kPermissionDenied    not on its access list
  //         kResourceExhausted   too many sessions or namespaces; no memory
  //         kUnavailable         no daemon at the socket
  //         kDeadlineExceeded    timeout
  static absl::StatusOr<std::unique_ptr<Client>> Attach(
      const AttachOptions& options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Of the current attachment; a copy.
  NamespaceInfo info() const;

  // Whether the daemon is there now. After a restart its memory may take a
  // moment more: until then blocks are kNoSpace.
  bool connected() const;

  // Pins the longest cached prefix of the prompt whose blocks `keys` names, in
  // token order, and fills `prefix` (what it held is released first).
  //
  // Shape    0 < keys.size() <= 16,384
  // Cost     no system call, no message to the daemon, no allocation after the
  //          first call of that length; one full fence
  // Errors   kInvalidArgument     keys empty or too long
  //          kResourceExhausted   61,440 pins of one block by this session
  //          kFailedPrecondition  in a forked child
  //          On error nothing is pinned and `prefix` is empty.
  absl::Status Match(std::span<const BlockKey> keys, PinnedPrefix* prefix);

  // The same over several groups: one answer that covers them all. Groups that
  // are not named do not count.
  // Errors   also kInvalidArgument  an unknown group, or one named twice
  absl::Status Match(std::span<const GroupKeys> groups, PinnedPrefix* prefix);

  // Starts to follow the prompt whose blocks `keys` names: those that are ready
  // and, if asked, those that are being written. See PrefixStream, whose
  // status() carries everything but these:
  //
  // Shape    0 < keys.size() <= 16,384; of a group under HitRule::kAllPrefix
  // Errors   kInvalidArgument     keys, group, tail_tokens out of range
  //          kFailedPrecondition  in a forked child
  absl::Status Match(std::span<const BlockKey> keys,
                     const StreamOptions& options, PrefixStream* stream);

  // What is there of a prompt, and what is coming.
  // Cost    no system call; two searches of the index. One exception: the first
  //         estimate that needs a publisher's progress asks the daemon for it
  // Errors  as Match
  absl::StatusOr<LookupResult> Lookup(std::span<const BlockKey> keys);
  // One answer for several groups: the largest boundary for all their rules.
  absl::StatusOr<LookupResult> Lookup(std::span<const GroupKeys> groups);

  // A handle's life: see Publication.
  // Errors  kPermissionDenied   attached without `publish`
  //         kInvalidArgument    slices beyond the namespace's
  //         kResourceExhausted  4,096 open publications
  //         kUnavailable        the daemon is away
  absl::StatusOr<Publication> OpenPublication(
      const PublicationOptions& options = {});

  // Copies whole blocks in and commits them: source i holds the block of
  // keys[i], block_bytes of its group, slice after slice.
  // Returns how many are visible now (written or there before).
  // Errors  as Publication; kInvalidArgument  counts differ
  absl::StatusOr<uint32_t> Publish(uint32_t group, const BlockKey& parent,
                                   std::span<const BlockKey> keys,
                                   std::span<const std::byte* const> sources,
                                   absl::Time deadline = absl::Now() +
                                                         absl::Seconds(5));

  // Has the daemon pin the blocks of `keys` for others; those that this client
  // has committed by now are there.
  // Shape   0 < keys.size() <= 16,384
  // Errors  kNotFound  one of them is not there (the first is named)
  //         kInvalidArgument, kResourceExhausted, kUnavailable
  absl::StatusOr<Ticket> MintTicket(uint32_t group,
                                    std::span<const BlockKey> keys,
                                    const TicketOptions& options = {});
  // The same for blocks that `publication` is writing, or will begin: they are
  // pinned as they become ready, and whoever redeems the ticket can follow.
  absl::StatusOr<Ticket> MintTicket(const Publication& publication,
                                    uint32_t group,
                                    std::span<const BlockKey> keys,
                                    const TicketOptions& options = {});
  // The keys of a ticket; Match them, then ReleaseTicket once per consumer. May
  // be asked again, for hand-over data that came since.
  // Errors  kPermissionDenied  forged, or another daemon's or namespace's
  //         kNotFound          expired or used up
  absl::StatusOr<TicketContent> RedeemTicket(const Ticket& ticket);
  absl::Status ReleaseTicket(const Ticket& ticket);

  // Drops every block of the namespace, for all its sessions: the model has new
  // weights, nothing that was computed before may be found. When it returns no
  // Match finds any of it; blocks that are pinned rest until they are not, and
  // what is being written is kVoid once it is committed. Returns the new
  // content epoch. Errors  kPermissionDenied   attached without `publish`
  //         kUnavailable, kDeadlineExceeded
  absl::StatusOr<uint64_t> Clear(absl::Time deadline = absl::Now() +
                                                       absl::Seconds(5));

 private:
  friend class sdk::GpuImpl;
  explicit Client(std::unique_ptr<sdk::ClientImpl> impl);
  std::unique_ptr<sdk::ClientImpl> impl_;
};

}  // namespace kvferry

#endif  // KVFERRY_CLIENT_H_
