#ifndef KVFERRY_TESTS_SUPPORT_STREAM_PEER_H_
#define KVFERRY_TESTS_SUPPORT_STREAM_PEER_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "kvferry/publish.h"
#include "kvferry/ticket.h"
#include "tests/support/stream_command.h"

namespace kvferry::test {

// A client in a process of its own that does, step by step, what the test says:
// one publication and one stream at a time. Its blocks have the keys
// NumberedKey(n) and the bytes of WritePayload, and hold scribble until they
// are written.
//
//  1. Start returns once it is attached.
//  2. Calls, each of which returns when the process has done it; Kill, Stop and
//     Continue at any point between them.
//  3. The destructor kills it.
//
// The process gets SIGKILL when the thread that started it ends.
// Threads  one at a time
class StreamPeer {
 public:
  // Attaches to the namespace `name`, which must exist.
  static absl::StatusOr<std::unique_ptr<StreamPeer>> Start(
      const std::string& socket_path, const std::string& name);
  ~StreamPeer();
  StreamPeer(const StreamPeer&) = delete;
  StreamPeer& operator=(const StreamPeer&) = delete;

  // --- publication: as kvferry/publish.h; positions count from 0 ---

  absl::Status Open(const PublicationOptions& options = {});
  // Begins `count` blocks from NumberedKey(key) on, chained after what was
  // begun before. Scribbles over their pages.
  absl::StatusOr<uint32_t> Begin(uint64_t key, uint32_t count,
                                 uint32_t tail_tokens = 0);
  // Writes layers [layer, layer + layers) of this process's slices, all of them
  // unless told, of those positions that had pages when they were begun.
  absl::Status Write(uint32_t first, uint32_t count, uint32_t layer = 0,
                     uint32_t layers = 0);
  // Writes what no block has over the pages that they had once, whatever became
  // of them since.
  absl::Status ScribbleOver(uint32_t first, uint32_t count);
  absl::Status CommitLayers(uint32_t first, uint32_t count, uint32_t layers);
  absl::Status Commit(uint32_t first, uint32_t count);
  absl::Status CommitAndWait(uint32_t first, uint32_t count);
  absl::Status SetHandOver(absl::string_view bytes);
  absl::Status Abort();
  absl::Status Close();
  absl::StatusOr<BlockOutcome> Outcome(uint32_t position);
  absl::StatusOr<Ticket> Mint(uint64_t key, uint32_t count,
                              uint32_t tail_tokens = 0,
                              absl::string_view hand_over = {});
  // Write and Commit.
  absl::Status Produce(uint32_t first, uint32_t count);

  // --- stream ---

  // Returns how many blocks have a place.
  absl::StatusOr<uint32_t> Match(uint64_t key, uint32_t count);
  // Returns how many blocks are ok and have the right bytes, or why not.
  absl::StatusOr<uint32_t> WaitChunk(uint32_t blocks);
  // Has it wait without waiting for it: no other call after it but Kill.
  absl::Status StartWaitChunk(uint32_t blocks);

  // --- the process ---

  // Damages the session's ring, for which the daemon revokes it.
  absl::Status BreakRing();
  // SIGKILL, and waits until it is gone.
  void Kill();
  // SIGSTOP, and waits until it stands still.
  absl::Status Stop();
  void Continue();
  pid_t pid() const { return pid_; }

 private:
  StreamPeer() = default;
  absl::Status Send(const StreamCommand& command);
  absl::StatusOr<StreamReply> Receive();
  absl::StatusOr<StreamReply> Call(const StreamCommand& command);
  absl::Status CallRange(StreamVerb verb, uint32_t first, uint32_t count,
                         uint32_t layers = 0);

  pid_t pid_ = 0;
  UniqueFd socket_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_STREAM_PEER_H_
