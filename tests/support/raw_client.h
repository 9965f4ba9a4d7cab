#ifndef KVFERRY_TESTS_SUPPORT_RAW_CLIENT_H_
#define KVFERRY_TESTS_SUPPORT_RAW_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "kvferry/key.h"
#include "kvferry/layout.h"
#include "protocol/framing.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"

namespace kvferry::test {

// A client that speaks the protocol by hand and may break it at will: no rule
// of the SDK stands between a test and the daemon.
class RawClient {
 public:
  // Errors  kUnavailable and the like
  static absl::StatusOr<RawClient> Connect(const std::string& socket_path);

  int socket() const { return socket_.get(); }
  void CloseSocket() { socket_.reset(); }

  // Bytes as they are, with descriptors. False when the daemon closed.
  bool SendBytes(std::span<const std::byte> bytes,
                 std::span<const int> fds = {});
  template <typename Body>
  bool Send(Body body, std::span<const int> fds = {}) {
    const auto bytes = protocol::EncodeMessage(
        protocol::MakeMessage(++last_id_, std::move(body)));
    return bytes.ok() && SendBytes(*bytes, fds);
  }

  // The next message, whatever it is, with its descriptors.
  // Errors  kUnavailable       the daemon closed the connection
  //         kDeadlineExceeded  nothing came
  absl::StatusOr<protocol::wire::MessageT> Receive(
      std::vector<UniqueFd>* fds = nullptr,
      absl::Duration timeout = absl::Seconds(10));
  // Sends a request and receives until its reply. An Error comes as that
  // status.
  template <typename Body>
  absl::StatusOr<protocol::wire::MessageT> Call(
      Body body, std::vector<UniqueFd>* fds = nullptr) {
    if (!Send(std::move(body))) {
      return absl::UnavailableError("the daemon closed the connection");
    }
    return ReceiveReply(fds);
  }
  // Whether the daemon closes the connection before the deadline; what comes
  // until then is dropped.
  bool ClosedByDaemon(absl::Duration timeout = absl::Seconds(10));

 private:
  absl::StatusOr<protocol::wire::MessageT> ReceiveReply(
      std::vector<UniqueFd>* fds);

  UniqueFd socket_;
  uint32_t last_id_ = 0;
};

// An attach request as the SDK would make it.
protocol::wire::AttachT MakeAttach(const NamespaceSpec& spec);

// An attached RawClient: the files of its session, mapped.
struct RawSession {
  // Errors  those of the daemon
  static absl::StatusOr<RawSession> Attach(
      const std::string& socket_path, const NamespaceSpec& spec,
      protocol::wire::Access access = protocol::wire::Access::Publish);

  protocol::SessionClientHeader& client_header() {
    return *client.At<protocol::SessionClientHeader>(0);
  }
  const protocol::SessionDaemonHeader& daemon_header() const {
    return *daemon.At<protocol::SessionDaemonHeader>(0);
  }
  protocol::PinCell* pins() {
    return client.At<protocol::PinCell>(protocol::kPinsOffset);
  }
  protocol::ProgressRecord& progress_record(uint32_t index) {
    return progress.At<protocol::ProgressRecord>(
        protocol::kProgressRecordsOffset)[index];
  }
  char* hand_over(uint32_t index) {
    return progress.At<char>(protocol::kHandOverOffset) +
           uint64_t{index} * protocol::kHandOverBytesMax;
  }
  // Seals the progress file against any other writing than by `progress`.
  bool SealProgress();
  // Writes a record at the tail and moves the tail.
  void Post(const protocol::SubmitRecord& record);
  void PostOpen(uint32_t handle, uint64_t publication, uint32_t stall_ms = 0);
  // `pool` 0: in the host's memory.
  void PostBegin(uint32_t handle, uint32_t first,
                 std::span<const BlockKey> keys, uint8_t pool = 0);
  // kCommit or kAbort.
  void PostRange(protocol::SubmitType type, uint32_t handle, uint32_t first,
                 uint32_t count);
  void PostClose(uint32_t handle);
  // Reads replies up to the next of `type`; what comes before it is dropped.
  // Errors  kDeadlineExceeded  there is none
  absl::StatusOr<protocol::ReplyRecord> TakeReply(
      protocol::ReplyType type, absl::Duration timeout = absl::Seconds(10));
  void RingDoorbell();
  // Holds the lock that says: this client lives. Through the descriptor that
  // the daemon passed.
  bool Lock();
  // Drops the client's half, mapping and descriptor, and the lock with them.
  void LetGo();

  RawClient connection;
  protocol::wire::AttachedT attached;
  std::vector<UniqueFd> fds;  // as Attached lists them
  Mapping daemon;
  Mapping client;
  Mapping progress;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_RAW_CLIENT_H_
