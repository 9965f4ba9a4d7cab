#ifndef KVFERRY_PROTOCOL_FRAMING_H_
#define KVFERRY_PROTOCOL_FRAMING_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "protocol/control_generated.h"

namespace kvferry::protocol {

// Changes when a message changes its meaning; new tables and fields do not
// count.
inline constexpr uint32_t kProtocolVersion = 4;

// One packet: an encoded wire::Message and the descriptors beside it.
struct Packet {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> fds;
};

// Encodes a message.
// Errors  kInvalidArgument  the message would be over kMessageBytesMax
absl::StatusOr<std::vector<std::byte>> EncodeMessage(
    const wire::MessageT& message);

// Verifies and unpacks a message. The bytes must be private to the caller
// (verified memory must not change), which a received packet is.
// Errors  kInvalidArgument  too long, no FlatBuffer of ours, or no body
absl::StatusOr<wire::MessageT> DecodeMessage(std::span<const std::byte> bytes);

// Sends one packet without blocking. `fds` are duplicated by the kernel.
// Errors  kUnavailable        the peer is gone
//         kResourceExhausted  its socket is full: keep the packet, try later
absl::Status SendPacket(int socket, std::span<const std::byte> bytes,
                        std::span<const int> fds);

// Receives one packet without blocking; at most `fds_max` descriptors (all are
// close-on-exec; more are closed and an error).
// Errors  kNotFound         none there now
//         kUnavailable      the peer closed its end
//         kInvalidArgument  longer than kMessageBytesMax, or too many
//                           descriptors
absl::StatusOr<Packet> ReceivePacket(int socket, uint32_t fds_max);

// A message of the given body with the given id.
template <typename Body>
wire::MessageT MakeMessage(uint32_t id, Body body) {
  wire::MessageT message;
  message.id = id;
  message.body.Set(std::move(body));
  return message;
}

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_FRAMING_H_
