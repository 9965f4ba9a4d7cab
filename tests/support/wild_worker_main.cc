#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/mapping.h"
#include "base/unique_fd.h"
#include "protocol/framing.h"
#include "protocol/gpu_name.h"
#include "protocol/worker_framing.h"
#include "protocol/worker_ring.h"

// A worker process that breaks its protocol: started in kvferry-gpu's place,
// with the way in which it does in front of what kvferryd says. Until then, and
// in what it is not to break, it does as it should, but copies nothing.
//
//   MODE --device NAME ... --fd N ...
namespace kvferry::test {
namespace {

namespace wire = protocol::worker;

class WildWorker {
 public:
  WildWorker(std::string mode, const std::string& device, int fd)
      : mode_(std::move(mode)), socket_(fd) {
    name_ = *protocol::ParseGpuName(device);
  }

  void Run() {
    if (Is("garbage")) SendBytes(std::vector<std::byte>(100, std::byte{7}));
    if (Is("empty")) SendBytes(std::vector<std::byte>(1));
    if (Is("end")) return;
    SayHello();
    if (Is("hello-twice")) SayHello();
    if (Is("daemon-message")) Send(wire::QuitT());
    if (Is("unasked-pool")) Send(wire::PoolMadeT());
    if (Is("unasked-segment")) Send(wire::SegmentAddedT());
    while (Take()) {
    }
  }

 private:
  bool Is(const char* mode) const { return mode_ == mode; }
  void SendBytes(const std::vector<std::byte>& bytes) {
    (void)protocol::SendPacket(socket_, bytes, {});
  }
  template <typename Body>
  void Send(Body body, std::span<const int> fds = {}) {
    (void)protocol::SendPacket(
        socket_,
        *protocol::EncodeWorkerMessage(
            protocol::MakeWorkerMessage(std::move(body))),
        fds);
  }

  void SayHello() {
    wire::HelloT hello;
    hello.protocol_version =
        protocol::kWorkerProtocolVersion + (Is("version") ? 1 : 0);
    hello.kind = wire::DeviceKind::Emulated;
    hello.uuid.assign(name_.uuid.begin(), name_.uuid.end());
    if (Is("other-device")) hello.uuid[15] ^= 1;
    if (Is("no-device")) hello.uuid.clear();
    hello.name = "wild";
    Send(std::move(hello));
  }

  // The next message or command. False: the daemon has closed.
  bool Take() {
    pollfd readable{socket_, POLLIN, 0};
    // Commands are polled for: this worker never sleeps.
    ::poll(&readable, 1, 1);
    auto packet = protocol::ReceivePacket(socket_, 3);
    if (absl::IsUnavailable(packet.status())) return false;
    if (packet.ok()) {
      const auto message = protocol::DecodeWorkerMessage(packet->bytes);
      if (message.ok()) Handle(*message, std::move(packet->fds));
    }
    if (rings_.has_value()) DoCommands();
    return true;
  }

  void Handle(const wire::MessageT& message, std::vector<UniqueFd> fds) {
    if (message.body.type == wire::Body::Rings) {
      rings_ = *Mapping::Map(fds[0].get(), protocol::kWorkerRingFileBytes,
                             Mapping::Access::kReadWrite);
      if (Is("tail-ahead")) header().completion_tail.store(uint64_t{1} << 40);
      if (Is("tail-behind")) header().completion_tail.store(UINT64_MAX);
    } else if (const auto* make = message.body.AsMakePool()) {
      MakePool(*make);
    } else if (const auto* add = message.body.AsAddSegment()) {
      wire::SegmentAddedT added;
      added.segment_id = add->segment_id + (Is("segment-id") ? 1 : 0);
      added.registered = true;
      Send(std::move(added));
    } else {
      std::exit(0);
    }
  }

  void MakePool(const wire::MakePoolT& make) {
    const UniqueFd file(::memfd_create("wild", MFD_CLOEXEC));
    if (::ftruncate(file.get(), static_cast<off_t>(make.bytes)) != 0) return;
    const int fd = file.get();
    wire::PoolMadeT made;
    made.pool_id = make.pool_id + (Is("pool-id") ? 1 : 0);
    made.bytes = Is("small-pool") ? make.bytes - 1 : make.bytes;
    made.export_ = wire::Export::Descriptor;
    if (Is("no-export")) made.export_ = wire::Export::None;
    if (Is("empty-handle") || Is("long-handle")) {
      made.export_ = wire::Export::Handle;
      made.handle.resize(Is("long-handle") ? 60'000 : 0);
    }
    const bool with_fd =
        made.export_ == wire::Export::Descriptor && !Is("no-descriptor");
    Send(std::move(made), with_fd ? std::span(&fd, 1) : std::span<const int>());
  }

  void DoCommands() {
    const uint64_t tail = header().command_tail.load(std::memory_order_acquire);
    while (consumed_ != tail) {
      protocol::WorkerCommand command;
      std::memcpy(
          &command,
          rings_->At<protocol::WorkerCommand>(protocol::kWorkerCommandsOffset) +
              consumed_ % protocol::kWorkerRingRecords,
          sizeof(command));
      ++consumed_;
      Complete(command.id);
    }
  }

  void Complete(uint64_t id) {
    protocol::WorkerCompletion completion{};
    completion.id = Is("copy-id") ? id + 1000 : id;
    completion.ok = Is("copy-ok") ? 7 : Is("copy-fails") ? 0 : 1;
    const uint64_t tail = header().completion_tail.load();
    rings_->At<protocol::WorkerCompletion>(
        protocol::kWorkerCompletionsOffset)[tail %
                                            protocol::kWorkerRingRecords] =
        completion;
    header().completion_tail.store(tail + 1);
  }

  protocol::WorkerRingHeader& header() {
    return *rings_->At<protocol::WorkerRingHeader>(0);
  }

  const std::string mode_;
  const int socket_;
  protocol::GpuName name_;
  std::optional<Mapping> rings_;
  uint64_t consumed_ = 0;
};

}  // namespace
}  // namespace kvferry::test

int main(int argc, char** argv) {
  std::string device;
  int fd = -1;
  for (int i = 2; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--device") == 0) device = argv[i + 1];
    if (std::strcmp(argv[i], "--fd") == 0) fd = std::atoi(argv[i + 1]);
  }
  if (argc < 2 || fd < 0) return 2;
  kvferry::test::WildWorker(argv[1], device, fd).Run();
  return 0;
}
