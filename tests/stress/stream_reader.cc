#include "tests/stress/stream_reader.h"

#include <poll.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tests/support/stream_payload.h"

namespace kvferry::test {
namespace {

constexpr uint64_t kPageBytes = uint64_t{kRoundLayers} * kRoundLayerBytes;
// Streams of one reader: each failure of a publisher ends one.
constexpr uint32_t kStreamsMax = 10'000;

}  // namespace

StreamReader::StreamReader(Client* client, const RoundPlan& round,
                           const ReaderPlan& plan, const StreamLane& lane)
    : client_(client),
      round_(round),
      plan_(plan),
      lane_(lane),
      random_(plan.seed),
      use_ticket_(plan.by_ticket) {
  keys_ = RoundKeys(client->info(), round.seed, round.blocks);
  keys_.resize(plan.keys);
}

absl::Status StreamReader::Run(absl::Duration patience) {
  patience_ = patience;
  KVFERRY_RETURN_IF_ERROR(Join());
  while (streams_ < kStreamsMax) {
    // Before the stream: what is over now is over for it.
    const bool last = lane_.publishers_gone.load() != 0;
    const bool nobody = NobodyWritesOn();
    KVFERRY_RETURN_IF_ERROR(Open());
    KVFERRY_RETURN_IF_ERROR(Follow());
    if (stream_.status().ok()) return absl::OkStatus();
    const bool taken_over = absl::IsAborted(stream_.status()) &&
                            round_.scenario == Scenario::kStandby;
    if (last || (nobody && !taken_over)) return absl::OkStatus();
    // Not begun yet, or not taken over yet: looks again.
    absl::SleepFor(absl::Microseconds(300));
  }
  return absl::InternalError(absl::StrCat(streams_, " streams have failed"));
}

absl::Status StreamReader::Join() {
  const absl::Time deadline = Deadline();
  const uint64_t tokens =
      uint64_t{std::min(plan_.joins_at, plan_.keys)} * kRoundTokens;
  while (!NobodyWritesOn()) {
    if (use_ticket_) {
      if (lane_.ticket_bytes.load(std::memory_order_acquire) != 0) break;
    } else {
      KVFERRY_ASSIGN_OR_RETURN(const LookupResult found,
                               client_->Lookup(keys_));
      if (found.coming_tokens < found.tokens) {
        return absl::InternalError(absl::StrCat("lookup: ", found.tokens,
                                                " here, ", found.coming_tokens,
                                                " here or coming"));
      }
      if (found.coming_tokens >= tokens) break;
    }
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError("nobody has begun");
    }
    absl::SleepFor(absl::Microseconds(300));
  }
  return absl::OkStatus();
}

absl::Status StreamReader::Open() {
  StreamOptions options;
  const uint32_t bytes = lane_.ticket_bytes.load(std::memory_order_acquire);
  if (use_ticket_ && bytes != 0) {
    auto content =
        client_->RedeemTicket(Ticket{std::string(lane_.ticket, bytes)});
    KVFERRY_RETURN_IF_ERROR(WithContext(content.status(), "redeem"));
    content->keys.resize(keys_.size());
    if (content->keys != keys_) {
      return absl::DataLossError("the ticket names other keys");
    }
    options.publication = content->publication;
    use_ticket_ = false;  // another publication's turn, next time
  }
  ++streams_;
  layers_right_.assign(keys_.size(), true);
  return client_->Match(keys_, options, &stream_);
}

absl::Status StreamReader::Follow() {
  absl::Status status;
  switch (plan_.mode) {
    case ReaderMode::kPullLayers:
      status = Pull(/*by_layer=*/true);
      break;
    case ReaderMode::kPullBlocks:
      status = Pull(/*by_layer=*/false);
      break;
    case ReaderMode::kChunksInPlace:
      status = ChunksInPlace();
      break;
    case ReaderMode::kLayersInPlace:
      status = LayersInPlace();
      break;
    case ReaderMode::kEventLoop:
      status = EventLoop();
      break;
    case ReaderMode::kCommitted:
      status = stream_.WaitCommitted(Deadline());
      break;
    case ReaderMode::kChanges:
      status = Changes();
      break;
  }
  if (absl::IsDataLoss(status)) return status;
  if (!status.ok() && !absl::IsAborted(status) && !absl::IsNotFound(status)) {
    return WithContext(
        status, absl::StrCat("mode ", static_cast<uint32_t>(plan_.mode), ", ",
                             stream_.ok_blocks(), " of ", keys_.size(),
                             " ok, stream ", stream_.status().ToString()));
  }
  if (!stream_.done()) {
    return absl::InternalError(absl::StrCat(
        "a wait ended with ", status.ToString(), ", its stream goes on"));
  }
  KVFERRY_RETURN_IF_ERROR(Check());
  if (stream_.status().ok() != (stream_.ok_blocks() == keys_.size())) {
    return absl::InternalError(
        absl::StrCat(stream_.ok_blocks(), " of ", keys_.size(),
                     " blocks are ok, and ", stream_.status().ToString()));
  }
  if (const auto data = stream_.hand_over();
      data.ok() && *data != absl::StrCat("hand-over of ", round_.seed)) {
    return absl::DataLossError(absl::StrCat("hand-over data \"", *data, "\""));
  }
  return absl::OkStatus();
}

absl::Status StreamReader::Pull(bool by_layer) {
  std::vector<std::byte> memory(keys_.size() * kRoundSlices * kPageBytes);
  PrefixStream::PullOptions options;
  options.by_layer = by_layer;
  const absl::Status status = stream_.PullTo(
      options,
      [&memory](uint32_t block, uint32_t slice, uint32_t layer, uint32_t,
                std::span<const std::byte> bytes) {
        std::memcpy(memory.data() +
                        (block * kRoundSlices + slice) * kPageBytes +
                        uint64_t{layer} * kRoundLayerBytes,
                    bytes.data(), bytes.size());
      },
      Deadline());
  const uint32_t blocks = stream_.copied_blocks();
  std::vector<bool> right(blocks, true);
  for (uint32_t b = 0; b < blocks; ++b) {
    for (uint32_t s = 0; s < kRoundSlices; ++s) {
      const auto page = std::span(memory).subspan(
          (b * kRoundSlices + s) * kPageBytes, kPageBytes);
      right[b] = right[b] && IsPayload(keys_[b], s, 0, page);
    }
  }
  KVFERRY_RETURN_IF_ERROR(Accept(blocks, right));
  if (status.ok() && blocks != keys_.size()) {
    return absl::InternalError(
        absl::StrCat("pulled ", blocks, " of ", keys_.size(), " blocks"));
  }
  return status;
}

absl::Status StreamReader::ChunksInPlace() {
  while (stream_.ok_blocks() < keys_.size()) {
    const auto left = static_cast<uint32_t>(keys_.size()) - stream_.ok_blocks();
    const uint32_t want =
        stream_.ok_blocks() + 1 + static_cast<uint32_t>(random_() % left);
    KVFERRY_RETURN_IF_ERROR(stream_.WaitChunk(want, Deadline()));
    if (stream_.ok_blocks() < want) {
      return absl::InternalError(absl::StrCat(
          "waited for ", want, " blocks, has ", stream_.ok_blocks()));
    }
    KVFERRY_RETURN_IF_ERROR(Check());
  }
  return absl::OkStatus();
}

absl::Status StreamReader::LayersInPlace() {
  while (stream_.ok_blocks() < keys_.size()) {
    const auto left = static_cast<uint32_t>(keys_.size()) - stream_.ok_blocks();
    const uint32_t want =
        stream_.ok_blocks() + 1 + static_cast<uint32_t>(random_() % left);
    const auto layers = 1 + static_cast<uint32_t>(random_() % kRoundLayers);
    KVFERRY_RETURN_IF_ERROR(stream_.WaitLayer(want, layers, Deadline()));
    if (stream_.ok_blocks() < want &&
        (stream_.layered_end() < want || stream_.ok_layers() < layers)) {
      return absl::InternalError(absl::StrCat(
          "waited for ", layers, " layers of ", want, " blocks, has ",
          stream_.ok_blocks(), " and ", stream_.ok_layers(), " layers of ",
          stream_.layered_end()));
    }
    LookAtLayers();
    if (layers == kRoundLayers && stream_.ok_blocks() < want) {
      KVFERRY_RETURN_IF_ERROR(stream_.WaitChunk(want, Deadline()));
    }
    KVFERRY_RETURN_IF_ERROR(Check());
  }
  return absl::OkStatus();
}

absl::Status StreamReader::EventLoop() {
  KVFERRY_ASSIGN_OR_RETURN(const int fd, stream_.event_fd());
  while (!stream_.done()) {
    pollfd poll_fd{fd, POLLIN, 0};
    if (::poll(&poll_fd, 1,
               static_cast<int>(absl::ToInt64Milliseconds(patience_))) != 1) {
      return absl::DeadlineExceededError("the event descriptor stays silent");
    }
    stream_.Poll();
    LookAtLayers();
    KVFERRY_RETURN_IF_ERROR(Check());
  }
  return stream_.status();
}

absl::Status StreamReader::Changes() {
  while (!stream_.done()) {
    const absl::Status status = stream_.WaitChange(Deadline());
    if (!status.ok()) return status;
    LookAtLayers();
    KVFERRY_RETURN_IF_ERROR(Check());
  }
  return stream_.status();
}

void StreamReader::LookAtLayers() {
  const uint64_t bytes = uint64_t{stream_.ok_layers()} * kRoundLayerBytes;
  if (bytes == 0) return;
  for (uint32_t b = stream_.ok_blocks(); b < stream_.layered_end(); ++b) {
    for (uint32_t s = 0; s < kRoundSlices; ++s) {
      if (!IsPayload(keys_[b], s, 0, stream_.page(b, s).first(bytes))) {
        layers_right_[b] = false;
      }
    }
  }
}

absl::Status StreamReader::Check() {
  const uint32_t blocks = stream_.ok_blocks();
  std::vector<bool> right(blocks, true);
  for (uint32_t b = 0; b < blocks; ++b) {
    for (uint32_t s = 0; s < kRoundSlices; ++s) {
      right[b] = right[b] && IsPayload(keys_[b], s, 0, stream_.page(b, s));
    }
  }
  return Accept(stream_.Confirm(blocks), right);
}

absl::Status StreamReader::Accept(uint32_t blocks,
                                  const std::vector<bool>& right) {
  for (uint32_t b = 0; b < blocks; ++b) {
    if (!right[b] || !layers_right_[b]) {
      return absl::DataLossError(absl::StrCat(
          "mode ", static_cast<uint32_t>(plan_.mode), ": block ", b, " of ",
          blocks, " accepted has wrong ", right[b] ? "early layers" : "bytes"));
    }
  }
  accepted_ = std::max(accepted_, blocks);
  verified_blocks_ += blocks;
  return absl::OkStatus();
}

}  // namespace kvferry::test
