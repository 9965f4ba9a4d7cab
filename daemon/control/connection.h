#ifndef KVFERRY_DAEMON_CONTROL_CONNECTION_H_
#define KVFERRY_DAEMON_CONTROL_CONNECTION_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "daemon/control/peer.h"
#include "daemon/control/poller.h"
#include "protocol/framing.h"

namespace kvferry::control {

// One client's socket, and what still has to go out through it.
//
// Nothing here blocks: what the socket does not take waits in an outbox of at
// most 256 KiB, and a client that lets it overflow is cut off. Close only
// marks; the control loop, which owns it, does the rest at the end of a turn.
//
// Threads  the control loop's
class Connection {
 public:
  enum class End {
    kOpen,
    kOrderly,   // the client left, or the daemon ends
    kForCause,  // the client broke a rule
  };

  // `poller` and `any_closed`, which Close sets, outlive it.
  // Errors  as Poller::Add
  static absl::StatusOr<std::unique_ptr<Connection>> Make(
      uint64_t id, UniqueFd socket, Peer peer, uint64_t now_ms, Poller* poller,
      bool* any_closed);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  uint64_t id() const { return id_; }
  Peer& peer() { return peer_; }
  const Peer& peer() const { return peer_; }
  uint64_t accepted_ms() const { return accepted_ms_; }

  // The client's next message. A first one is what the handshake deadline
  // waits for.
  // Errors  kNotFound         none there
  //         kUnavailable      it closed its end
  //         kInvalidArgument  it broke the protocol
  absl::StatusOr<protocol::wire::MessageT> Receive();
  bool greeted() const { return greeted_; }

  // Sends a message, now or when the socket has room. `fds` stay the caller's.
  // A failure closes the connection.
  void Send(const protocol::wire::MessageT& message,
            std::span<const int> fds = {});
  template <typename Body>
  void Reply(uint32_t id, Body body, std::span<const int> fds = {}) {
    Send(protocol::MakeMessage(id, std::move(body)), fds);
  }
  void ReplyError(uint32_t id, const absl::Status& status);
  // Sends what waits, as far as the socket takes it.
  void Flush();
  // Whether messages wait because the client does not read.
  bool backlogged() const { return !outbox_.empty(); }

  // The first call decides.
  void Close(End end, absl::string_view reason);
  End end() const { return end_; }
  const std::string& end_reason() const { return end_reason_; }

  // Of the session that was attached through it.
  std::optional<uint16_t> session() const { return session_; }
  void set_session(std::optional<uint16_t> session) { session_ = session; }

 private:
  struct Waiting {
    std::vector<std::byte> bytes;
    std::vector<UniqueFd> fds;
  };

  Connection(uint64_t id, UniqueFd socket, Peer peer, uint64_t now_ms,
             Poller* poller, bool* any_closed);
  // False: the socket is full. A failure closes and counts as sent.
  bool TrySend(std::span<const std::byte> bytes, std::span<const int> fds);
  void Queue(std::vector<std::byte> bytes, std::span<const int> fds);

  const uint64_t id_;
  UniqueFd socket_;
  Peer peer_;
  const uint64_t accepted_ms_;
  Poller& poller_;
  bool& any_closed_;
  bool greeted_ = false;
  std::optional<uint16_t> session_;
  std::deque<Waiting> outbox_;
  size_t outbox_bytes_ = 0;
  End end_ = End::kOpen;
  std::string end_reason_;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_CONNECTION_H_
