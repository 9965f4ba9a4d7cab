#ifndef KVFERRY_TESTS_UNIT_GPU_DEVICE_PEER_H_
#define KVFERRY_TESTS_UNIT_GPU_DEVICE_PEER_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "gpu/device.h"

namespace kvferry::gpu {

// What a test tells a DevicePeer, one packet each, and what it answers. The
// peer has one memory; its bytes are RandomBytes of a seed.
struct PeerMessage {
  enum class Verb : uint8_t {
    kAllocate,  // memory of `bytes`, `mode`; answers how it is exported
    kImport,    // the memory that is described; a descriptor comes beside it
    kFill,      // with the bytes of `seed`
    kCheck,     // that it has the bytes of `seed`
    kRelease,   // ends the memory
    kReply,
  };
  Verb verb = Verb::kReply;
  ExportMode mode = ExportMode::kAuto;
  ExportedMemory::Kind kind = ExportedMemory::Kind::kNone;
  int owner_pid = 0;
  uint64_t bytes = 0;
  uint64_t seed = 0;
  int code = 0;  // of the answer, as absl::StatusCode
  uint32_t text_bytes = 0;
  uint32_t handle_bytes = 0;
  char text[512] = {};
  uint8_t handle[512] = {};
};

// Sends a message, with the descriptor if `fd` is one.
absl::Status SendPeerMessage(int socket, const PeerMessage& message, int fd);
// Blocking  up to a minute
// Errors    kUnavailable  the other end is closed
absl::StatusOr<PeerMessage> ReceivePeerMessage(int socket, UniqueFd* fd);

// Between memory as a Device exports it and a message; the descriptor goes
// beside it.
void SetExported(const ExportedMemory& exported, PeerMessage* message);
ExportedMemory ExportedOf(const PeerMessage& message, UniqueFd fd);

// Another process with the device under test (device_peer_main.cc). Every call
// waits for its answer.
class DevicePeer {
 public:
  // `directory`: as EmulatedOptions has it, the test's to clear away.
  static absl::StatusOr<std::unique_ptr<DevicePeer>> Start(
      const std::string& directory);
  ~DevicePeer();  // kills it

  absl::StatusOr<ExportedMemory> Allocate(uint64_t bytes, ExportMode mode);
  absl::Status Import(const ExportedMemory& exported);
  absl::Status Fill(uint64_t seed);
  absl::Status Check(uint64_t seed);
  absl::Status Release();
  void Kill();  // and waits until it is gone

 private:
  DevicePeer() = default;
  absl::StatusOr<PeerMessage> Call(const PeerMessage& message, int fd,
                                   UniqueFd* reply_fd);
  absl::Status Call(PeerMessage::Verb verb, uint64_t seed);

  UniqueFd socket_;
  pid_t pid_ = 0;
};

}  // namespace kvferry::gpu

#endif  // KVFERRY_TESTS_UNIT_GPU_DEVICE_PEER_H_
