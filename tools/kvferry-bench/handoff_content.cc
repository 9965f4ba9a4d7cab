#include "tools/kvferry-bench/handoff_content.h"

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "tools/kvferry-bench/random.h"

namespace kvferry::bench {
namespace {

constexpr uint64_t kContentBytes = uint64_t{64} << 20;
constexpr uint64_t kCacheLine = 64;
constexpr uint64_t kContentSeed = 51;

}  // namespace

HandoffContent::HandoffContent(Buffer bytes, const GroupSpec& group)
    : bytes_(std::move(bytes)),
      layer_bytes_(group.page_bytes() / group.layer_count),
      layer_count_(group.layer_count) {}

absl::StatusOr<HandoffContent> HandoffContent::Make(const GroupSpec& group) {
  KVFERRY_ASSIGN_OR_RETURN(Buffer bytes, Buffer::Private(kContentBytes));
  FillRandom(bytes.span(), kContentSeed);
  return HandoffContent(std::move(bytes), group);
}

const std::byte* HandoffContent::Layer(uint64_t round, uint32_t block,
                                       uint32_t layer) const {
  const uint64_t places = (kContentBytes - layer_bytes_) / kCacheLine;
  const uint64_t place =
      Mix64(Mix64(round) ^ (uint64_t{block} << 32 | layer)) % places;
  return bytes_.data() + place * kCacheLine;
}

absl::Status HandoffContent::CheckPage(uint64_t round, uint32_t block,
                                       std::span<const std::byte> page) const {
  for (uint32_t layer = 0; layer < layer_count_; ++layer) {
    if (std::memcmp(page.data() + layer * layer_bytes_,
                    Layer(round, block, layer), layer_bytes_) != 0) {
      return absl::DataLossError(
          absl::StrCat("layer ", layer, " of block ", block,
                       " arrived with other bytes than were written"));
    }
  }
  return absl::OkStatus();
}

void HandoffContent::SweepCaches() const {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < kContentBytes; i += kCacheLine) {
    uint64_t word;
    std::memcpy(&word, bytes_.data() + i, sizeof(word));
    sum += word;
  }
  // Keeps the loop: nothing else uses the sum.
  asm volatile("" : : "r"(sum));
}

}  // namespace kvferry::bench
