// The process of a StreamPeer: does what its standard input, a socket, says.
//
//   kvferry_stream_peer_program SOCKET_PATH NAMESPACE

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "kvferry/client.h"
#include "protocol/shm_layout.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/stream_command.h"
#include "tests/support/stream_payload.h"

namespace kvferry::test {
namespace {

class Peer {
 public:
  explicit Peer(std::unique_ptr<Client> client)
      : client_(std::move(client)), group_(client_->info().spec.groups[0]) {}

  absl::Status Do(const StreamCommand& command, StreamReply* reply) {
    switch (command.verb) {
      case StreamVerb::kOpen:
        return Open(command);
      case StreamVerb::kMatch:
        return Match(command, reply);
      case StreamVerb::kWaitChunk:
        return WaitChunk(command.count, reply);
      case StreamVerb::kBreakRing:
        return BreakRing();
      default:
        break;
    }
    if (!publication_.has_value()) {
      return absl::FailedPreconditionError("no publication is open");
    }
    switch (command.verb) {
      case StreamVerb::kBegin:
        return Begin(command, reply);
      case StreamVerb::kWrite:
        return Write(command);
      case StreamVerb::kScribble:
        for (uint32_t p = command.first; p < command.first + command.count;
             ++p) {
          for (const std::span<std::byte> page : positions_.at(p).pages) {
            Scribble(page);
          }
        }
        return absl::OkStatus();
      case StreamVerb::kCommitLayers:
        return publication_->CommitLayers(command.first, command.count,
                                          command.layers);
      case StreamVerb::kCommit:
        return publication_->Commit(command.first, command.count);
      case StreamVerb::kCommitAndWait:
        return publication_->CommitAndWait(command.first, command.count);
      case StreamVerb::kSetHandOver:
        return publication_->SetHandOver(
            absl::string_view(command.text, command.text_bytes));
      case StreamVerb::kAbort:
        publication_->Abort();
        return absl::OkStatus();
      case StreamVerb::kClose:
        return publication_->Close();
      case StreamVerb::kOutcome:
        reply->value =
            static_cast<uint32_t>(publication_->outcome(command.first));
        return absl::OkStatus();
      case StreamVerb::kMint:
        return Mint(command, reply);
      default:
        return absl::UnimplementedError("no such verb");
    }
  }

 private:
  struct Position {
    BlockKey key;
    std::vector<std::span<std::byte>> pages;  // of this process's slices
  };

  static std::vector<BlockKey> Keys(const StreamCommand& command) {
    std::vector<BlockKey> keys;
    for (uint32_t i = 0; i < command.count; ++i) {
      keys.push_back(NumberedKey(command.key + i));
    }
    return keys;
  }

  absl::Status Open(const StreamCommand& command) {
    publication_.reset();
    positions_.clear();
    PublicationOptions options;
    options.engine_instance = command.engine_instance;
    options.publication = command.publication;
    options.slice_first = slice_first_ = command.slice_first;
    options.slice_count = command.slice_count;
    options.stall_timeout = absl::Milliseconds(command.stall_ms);
    options.standby = command.standby != 0;
    slice_count_ =
        command.slice_count == 0 ? group_.slice_count : command.slice_count;
    auto publication = client_->OpenPublication(options);
    if (!publication.ok()) return publication.status();
    publication_.emplace(*std::move(publication));
    return absl::OkStatus();
  }

  absl::Status Begin(const StreamCommand& command, StreamReply* reply) {
    const std::vector<BlockKey> keys = Keys(command);
    const BlockKey parent =
        positions_.empty() ? BlockKey{} : positions_.back().key;
    const auto first =
        publication_->BeginWithTail(0, parent, keys, command.tail_tokens);
    if (!first.ok()) return first.status();
    for (uint32_t i = 0; i < keys.size(); ++i) {
      Position& position = positions_.emplace_back();
      position.key = keys[i];
      for (uint32_t s = 0; s < slice_count_; ++s) {
        const std::span<std::byte> page =
            publication_->page(*first + i, slice_first_ + s);
        Scribble(page);
        position.pages.push_back(page);
      }
    }
    reply->value = *first;
    return absl::OkStatus();
  }

  absl::Status Write(const StreamCommand& command) {
    const uint64_t layer_bytes = group_.page_bytes() / group_.layer_count;
    const uint32_t layers = command.layers == 0
                                ? group_.layer_count - command.layer
                                : command.layers;
    for (uint32_t p = command.first; p < command.first + command.count; ++p) {
      const Position& position = positions_.at(p);
      for (uint32_t s = 0; s < position.pages.size(); ++s) {
        if (position.pages[s].empty()) continue;
        const uint64_t offset = command.layer * layer_bytes;
        WritePayload(position.key, slice_first_ + s, offset,
                     position.pages[s].subspan(offset, layers * layer_bytes));
      }
    }
    return absl::OkStatus();
  }

  absl::Status Mint(const StreamCommand& command, StreamReply* reply) {
    TicketOptions options;
    options.consumers = command.consumers;
    options.tail_tokens = command.tail_tokens;
    options.hand_over.assign(command.text, command.text_bytes);
    const auto ticket =
        client_->MintTicket(*publication_, 0, Keys(command), options);
    if (!ticket.ok()) return ticket.status();
    reply->text_bytes = static_cast<uint32_t>(
        std::min(ticket->bytes.size(), sizeof(reply->text)));
    std::memcpy(reply->text, ticket->bytes.data(), reply->text_bytes);
    return absl::OkStatus();
  }

  absl::Status Match(const StreamCommand& command, StreamReply* reply) {
    stream_keys_ = Keys(command);
    if (absl::Status status = client_->Match(stream_keys_, {}, &stream_);
        !status.ok()) {
      return status;
    }
    reply->value = stream_.block_count();
    return absl::OkStatus();
  }

  absl::Status WaitChunk(uint32_t blocks, StreamReply* reply) {
    const absl::Status waited =
        stream_.WaitChunk(blocks, absl::InfiniteFuture());
    for (uint32_t b = 0; b < stream_.ok_blocks(); ++b) {
      for (uint32_t s = 0; s < group_.slice_count; ++s) {
        if (!IsPayload(stream_keys_[b], s, 0, stream_.page(b, s))) {
          return absl::DataLossError("an ok block has wrong bytes");
        }
      }
    }
    if (!waited.ok()) return waited;
    reply->value = stream_.Confirm(stream_.ok_blocks());
    return absl::OkStatus();
  }

  // Claims to have submitted more records than the ring holds.
  static absl::Status BreakRing() {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
      if (line.find("kvferry-client") == std::string::npos) continue;
      auto* const header = reinterpret_cast<protocol::SessionClientHeader*>(
          std::stoull(line, nullptr, 16));
      header->submit_tail.fetch_add(3 * protocol::kRingRecords,
                                    std::memory_order_release);
      return absl::OkStatus();
    }
    return absl::NotFoundError("no client file is mapped");
  }

  std::unique_ptr<Client> client_;
  const GroupSpec group_;
  std::optional<Publication> publication_;
  uint32_t slice_first_ = 0;
  uint32_t slice_count_ = 1;
  std::vector<Position> positions_;
  PrefixStream stream_;
  std::vector<BlockKey> stream_keys_;
};

bool SendReply(const absl::Status& status, StreamReply* reply) {
  if (!status.ok()) {
    reply->code = static_cast<int32_t>(status.code());
    reply->text_bytes = static_cast<uint32_t>(
        std::min(status.message().size(), sizeof(reply->text)));
    std::memcpy(reply->text, status.message().data(), reply->text_bytes);
  }
  return ::send(STDIN_FILENO, reply, sizeof(*reply), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(sizeof(*reply));
}

int Serve(const std::string& socket_path, const std::string& name) {
  AttachOptions options;
  options.socket_path = socket_path;
  options.spec.name = name;
  options.accept_existing = true;
  options.client_name = "stream peer";
  auto client = Client::Attach(options);
  StreamReply attached;
  if (!SendReply(client.status(), &attached) || !client.ok()) return 1;
  Peer peer(*std::move(client));
  StreamCommand command;
  while (::recv(STDIN_FILENO, &command, sizeof(command), 0) ==
         static_cast<ssize_t>(sizeof(command))) {
    StreamReply reply;
    const absl::Status status = peer.Do(command, &reply);
    if (!SendReply(status, &reply)) return 1;
  }
  return 0;
}

}  // namespace
}  // namespace kvferry::test

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return kvferry::test::Serve(argv[1], argv[2]);
}
