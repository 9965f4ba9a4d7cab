#include "tests/stress/stream_filler.h"

#include <cstddef>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "kvferry/client.h"
#include "tests/stress/stream_round.h"
#include "tests/support/stream_payload.h"

namespace kvferry::test {
namespace {

constexpr uint32_t kBlocks = 64;
// No round has such a seed.
constexpr uint64_t kFirstSeed = uint64_t{1} << 60;

}  // namespace

absl::Status RunFiller(const std::string& socket, absl::Duration pause,
                       const std::atomic<bool>& stop,
                       std::atomic<uint64_t>* verified_blocks) {
  AttachOptions options;
  options.socket_path = socket;
  options.spec = RoundSpec();
  options.client_name = "stream stress filler";
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Client> client,
                           Client::Attach(options));
  const uint64_t page_bytes = options.spec.groups[0].page_bytes();
  std::mt19937_64 random(1);
  std::vector<std::byte> memory(kBlocks * kRoundSlices * page_bytes);
  std::vector<const std::byte*> sources;
  for (uint32_t b = 0; b < kBlocks; ++b) {
    sources.push_back(memory.data() + b * kRoundSlices * page_bytes);
  }
  PinnedPrefix prefix;
  for (uint64_t prompt = 0; !stop.load(); ++prompt) {
    std::vector<BlockKey> keys =
        RoundKeys(client->info(), kFirstSeed + prompt, kBlocks);
    for (uint32_t b = 0; b < kBlocks; ++b) {
      for (uint32_t s = 0; s < kRoundSlices; ++s) {
        WritePayload(keys[b], s, 0,
                     std::span(memory).subspan(
                         (b * kRoundSlices + s) * page_bytes, page_bytes));
      }
    }
    KVFERRY_RETURN_IF_ERROR(client->Publish(0, {}, keys, sources).status());
    for (int look = 0; look < 4; ++look) {
      const uint64_t which = random() % (prompt + 1);
      keys = RoundKeys(client->info(), kFirstSeed + which, kBlocks);
      KVFERRY_RETURN_IF_ERROR(client->Match(keys, &prefix));
      for (uint32_t b = 0; b < prefix.block_count(); ++b) {
        for (uint32_t s = 0; s < kRoundSlices; ++s) {
          if (IsPayload(keys[b], s, 0, prefix.page(b, s))) continue;
          return absl::DataLossError(absl::StrCat(
              "filler: block ", b, " of prompt ", which, " has wrong bytes"));
        }
      }
      KVFERRY_RETURN_IF_ERROR(prefix.Check());
      verified_blocks->fetch_add(prefix.block_count());
    }
    prefix.Release();
    absl::SleepFor(pause);
  }
  return absl::OkStatus();
}

}  // namespace kvferry::test
