#ifndef KVFERRY_SDK_CONNECTION_H_
#define KVFERRY_SDK_CONNECTION_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "base/unique_fd.h"
#include "protocol/framing.h"

namespace kvferry::sdk {

// The control socket, seen from the client: requests with replies by id, and
// what the daemon says unasked.
//
// Whoever calls takes in what has arrived, whomever it is for. While a
// background thread does so anyway (HandOver), callers sleep on a condition
// variable; before, they poll the socket themselves.
//
// Threads  any number
class Connection {
 public:
  struct Reply {
    protocol::wire::MessageT message;
    std::vector<UniqueFd> fds;
  };
  struct Segment {
    protocol::wire::SegmentAddedT added;
    UniqueFd fd;
  };
  struct GpuPool {
    protocol::wire::GpuPoolChangedT changed;
    UniqueFd fd;  // with GpuExport::Descriptor only
  };

  // Errors  kInvalidArgument  the path is too long for a socket, or empty
  //         kUnavailable      nobody listens there
  //         kDeadlineExceeded
  static absl::StatusOr<std::unique_ptr<Connection>> Connect(
      absl::string_view socket_path, absl::Time deadline);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Sends a request and waits for its reply.
  // Errors  what the daemon answered, by its code
  //         kUnavailable       it is gone
  //         kDeadlineExceeded  a late reply will be dropped
  //         kInvalidArgument   the request is over 64 KiB
  template <typename Body>
  absl::StatusOr<Reply> Call(Body body, absl::Time deadline) {
    return CallMessage(protocol::MakeMessage(0, std::move(body)), deadline);
  }

  // The same for callers that know the type of the answer.
  template <typename Answer, typename Body>
  absl::StatusOr<std::unique_ptr<Answer>> Ask(Body body, absl::Time deadline) {
    absl::StatusOr<Reply> reply = Call(std::move(body), deadline);
    if (!reply.ok()) return reply.status();
    return TakeBody<Answer>(std::move(reply->message));
  }

  // The body of a reply, which must be an Answer.
  // Errors  kInternal  the daemon answered with another type, named
  template <typename Answer>
  static absl::StatusOr<std::unique_ptr<Answer>> TakeBody(
      protocol::wire::MessageT message) {
    using Traits = protocol::wire::BodyTraits<typename Answer::TableType>;
    if (message.body.type != Traits::enum_value) {
      return WrongBody(message.body.type, Traits::enum_value);
    }
    std::unique_ptr<Answer> answer(static_cast<Answer*>(message.body.value));
    message.body.value = nullptr;
    message.body.type = protocol::wire::Body::NONE;
    return answer;
  }

  // Sends a message that has no reply; gives up when the socket is full.
  void SendOneWay(const protocol::wire::MessageT& message);

  // Takes in all that has arrived; does not block.
  void Drain();

  // Segments announced since the last call, in order.
  std::vector<Segment> TakeSegments();
  // The same of what became of GPU pools.
  std::vector<GpuPool> TakeGpuPools();

  // Whether the daemon asked to look at the reply ring since the last call.
  bool poked() const { return poked_.load(std::memory_order_acquire); }
  bool TakePoke() { return poked_.exchange(false, std::memory_order_acq_rel); }

  // From now on another thread drains whenever the socket is readable.
  void HandOver();

  // Says kUnavailable to all who wait, now and later.
  void Close();

  bool closed() const { return closed_.load(std::memory_order_acquire); }
  int fd() const { return socket_.get(); }
  // Who listens, as of connecting.
  uint32_t peer_uid() const { return peer_uid_; }

 private:
  Connection(UniqueFd socket, uint32_t peer_uid)
      : socket_(std::move(socket)), peer_uid_(peer_uid) {}

  absl::StatusOr<Reply> CallMessage(protocol::wire::MessageT message,
                                    absl::Time deadline);
  absl::Status Send(const protocol::wire::MessageT& message,
                    absl::Time deadline);
  void DrainWithLock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Dispatch(protocol::Packet packet) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseWithLock() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  static absl::Status WrongBody(protocol::wire::Body there,
                                protocol::wire::Body expected);

  const UniqueFd socket_;
  const uint32_t peer_uid_;
  std::atomic<bool> closed_{false};
  std::atomic<bool> poked_{false};
  Mutex mutex_;
  CondVar arrived_;
  uint32_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  bool handed_over_ ABSL_GUARDED_BY(mutex_) = false;
  // By request id; no value while the reply is awaited.
  std::map<uint32_t, std::unique_ptr<Reply>> replies_ ABSL_GUARDED_BY(mutex_);
  std::vector<Segment> segments_ ABSL_GUARDED_BY(mutex_);
  std::vector<GpuPool> gpu_pools_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_CONNECTION_H_
