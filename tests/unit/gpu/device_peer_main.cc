// Another process with the device under test: does what the test tells it over
// the socket on its standard input, until that is closed. Its argument is the
// directory for the files of memory that is exported by handle.

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utility>

#include "base/status.h"
#include "gpu/device.h"
#include "tests/support/test_device.h"
#include "tests/unit/gpu/device_fixture.h"
#include "tests/unit/gpu/device_peer.h"

namespace kvferry::gpu {
namespace {

class Peer {
 public:
  explicit Peer(std::unique_ptr<Device> device) : device_(std::move(device)) {}

  // Whatever there is to say, and the descriptor for beside it, into `reply`.
  absl::Status Do(const PeerMessage& message, UniqueFd fd, PeerMessage* reply,
                  UniqueFd* reply_fd) {
    switch (message.verb) {
      case PeerMessage::Verb::kAllocate: {
        KVFERRY_ASSIGN_OR_RETURN(
            memory_, device_->Allocate(message.bytes, message.mode));
        KVFERRY_ASSIGN_OR_RETURN(ExportedMemory exported, memory_->Export());
        SetExported(exported, reply);
        *reply_fd = std::move(exported.fd);
        return absl::OkStatus();
      }
      case PeerMessage::Verb::kImport: {
        KVFERRY_ASSIGN_OR_RETURN(
            memory_, device_->Import(ExportedOf(message, std::move(fd))));
        return absl::OkStatus();
      }
      case PeerMessage::Verb::kFill: {
        const Bytes bytes = RandomBytes(memory_->bytes(), message.seed);
        return CopyAndWait({memory_->address(), bytes.data(), bytes.size()});
      }
      case PeerMessage::Verb::kCheck: {
        Bytes bytes(memory_->bytes());
        KVFERRY_RETURN_IF_ERROR(
            CopyAndWait({bytes.data(), memory_->address(), bytes.size()}));
        if (bytes == RandomBytes(bytes.size(), message.seed)) {
          return absl::OkStatus();
        }
        return absl::DataLossError("the memory has other bytes");
      }
      case PeerMessage::Verb::kRelease:
        memory_.reset();
        return absl::OkStatus();
      case PeerMessage::Verb::kReply:
        break;
    }
    return absl::InvalidArgumentError("no such verb");
  }

 private:
  absl::Status CopyAndWait(const Copy& copy) {
    KVFERRY_ASSIGN_OR_RETURN(const auto event, device_->CreateEvent());
    KVFERRY_RETURN_IF_ERROR(device_->CopyAsync({&copy, 1}, nullptr));
    KVFERRY_RETURN_IF_ERROR(device_->Record(event.get(), nullptr));
    return device_->Synchronize(*event);
  }

  const std::unique_ptr<Device> device_;
  std::unique_ptr<DeviceMemory> memory_;
};

int Main(const char* directory) {
  EmulatedOptions emulated;
  emulated.directory = directory;
  auto device = OpenDevice(test::TestDeviceName(), emulated);
  if (!device.ok()) return EXIT_FAILURE;
  Peer peer(*std::move(device));
  while (true) {
    UniqueFd fd;
    const auto message = ReceivePeerMessage(STDIN_FILENO, &fd);
    if (!message.ok()) return EXIT_SUCCESS;  // the test has ended
    PeerMessage reply;
    UniqueFd reply_fd;
    const absl::Status status =
        peer.Do(*message, std::move(fd), &reply, &reply_fd);
    reply.verb = PeerMessage::Verb::kReply;
    reply.code = static_cast<int>(status.code());
    reply.text_bytes = static_cast<uint32_t>(
        std::min(status.message().size(), sizeof(reply.text)));
    std::copy_n(status.message().begin(), reply.text_bytes, reply.text);
    if (!SendPeerMessage(STDIN_FILENO, reply, reply_fd.get()).ok()) {
      return EXIT_SUCCESS;
    }
  }
}

}  // namespace
}  // namespace kvferry::gpu

int main(int argc, char** argv) {
  return argc == 2 ? kvferry::gpu::Main(argv[1]) : EXIT_FAILURE;
}
