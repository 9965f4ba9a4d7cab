#include "protocol/worker_framing.h"

#include "absl/strings/str_cat.h"
#include "protocol/limits.h"

namespace kvferry::protocol {

absl::StatusOr<std::vector<std::byte>> EncodeWorkerMessage(
    const worker::MessageT& message) {
  flatbuffers::FlatBufferBuilder builder(1024);
  worker::FinishMessageBuffer(builder,
                              worker::Message::Pack(builder, &message));
  if (builder.GetSize() > kMessageBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "worker message ", worker::EnumNameBody(message.body.type), ": ",
        builder.GetSize(), " bytes, the limit is ", kMessageBytesMax));
  }
  const auto* begin =
      reinterpret_cast<const std::byte*>(builder.GetBufferPointer());
  return std::vector<std::byte>(begin, begin + builder.GetSize());
}

absl::StatusOr<worker::MessageT> DecodeWorkerMessage(
    std::span<const std::byte> bytes) {
  if (bytes.size() > kMessageBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker message: ", bytes.size(), " bytes, the limit is ",
                     kMessageBytesMax));
  }
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  flatbuffers::Verifier verifier(data, bytes.size(), kFlatbufferDepthMax,
                                 kFlatbufferTablesMax);
  // The identifier check reads eight bytes before anything is verified.
  if (bytes.size() < 8 || !worker::VerifyMessageBuffer(verifier)) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker message: ", bytes.size(),
                     " bytes that are no valid KVFW buffer"));
  }
  worker::MessageT message;
  const worker::Message* root = worker::GetMessage(data);
  if (root->body() == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("worker message: body of unknown type ",
                     static_cast<int>(root->body_type())));
  }
  root->UnPackTo(&message);
  return message;
}

}  // namespace kvferry::protocol
