#ifndef KVFERRY_PROTOCOL_WORKER_FRAMING_H_
#define KVFERRY_PROTOCOL_WORKER_FRAMING_H_

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "protocol/worker_generated.h"

// Messages of worker.fbs as bytes. They travel by SendPacket and ReceivePacket
// (framing.h), as the control protocol's do, under the same limits.
namespace kvferry::protocol {

// Errors  kInvalidArgument  the message would be over kMessageBytesMax
absl::StatusOr<std::vector<std::byte>> EncodeWorkerMessage(
    const worker::MessageT& message);

// Verifies and unpacks a message. The bytes must be private to the caller.
// Errors  kInvalidArgument  too long, no FlatBuffer of ours, or no body
absl::StatusOr<worker::MessageT> DecodeWorkerMessage(
    std::span<const std::byte> bytes);

template <typename Body>
worker::MessageT MakeWorkerMessage(Body body) {
  worker::MessageT message;
  message.body.Set(std::move(body));
  return message;
}

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_WORKER_FRAMING_H_
