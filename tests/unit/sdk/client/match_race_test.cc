#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "sdk/matcher.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::ResidenceState;
using test::FakeNamespace;
using test::NumberedKey;

#ifdef KVFERRY_SANITIZED
constexpr uint64_t kMoves = 10'000;
#else
constexpr uint64_t kMoves = 500'000;
#endif

// Goal    No reader sees the bytes of another key than the one it matched.
// Method  One thread does what the daemon does: marks a key's block, fences,
//         reads the pins, and if nobody has it pinned erases it and writes the
//         block anew for another key, as plain memory. Two readers match short
//         prompts and compare every byte of the pages with what the key says.
//         TSan would also report a rewrite under a reader as a race.
TEST(MatchRaceTest, PinnedBlocksAreNeverRewritten) {
  constexpr uint32_t kBlocks = 8;
  constexpr uint32_t kPrompt = 6;
  constexpr uint64_t kKeys = 10;  // most are there: hits are long
  FakeNamespace fake({{.block_count = kBlocks, .page_bytes = 64}});
  const auto fill = [&fake](uint32_t block, uint64_t n) {
    std::memset(fake.Page(0, block), static_cast<int>(n), 64);
  };
  std::vector<uint64_t> holds(kBlocks);
  for (uint64_t n = 0; n < kBlocks; ++n) {
    fill(static_cast<uint32_t>(n), n);
    fake.PutBlock(NumberedKey(n), static_cast<uint32_t>(n));
    holds[n] = n;
  }

  std::atomic<bool> stop{false};
  std::atomic<uint64_t> hits{0};
  std::atomic<uint64_t> wrong{0};
  const auto read = [&](uint64_t seed) {
    std::mt19937_64 random(seed);
    PinnedPrefix prefix;
    while (!stop.load(std::memory_order_relaxed)) {
      BlockKey keys[kPrompt];
      uint64_t numbers[kPrompt];
      for (uint32_t i = 0; i < kPrompt; ++i) {
        numbers[i] = random() % kKeys;
        keys[i] = NumberedKey(numbers[i]);
      }
      prefix.Release();
      if (!Matcher::MatchPrefix(&fake.attachment(), 0, keys, &prefix).ok()) {
        wrong.fetch_add(1);
        return;
      }
      for (uint32_t i = 0; i < prefix.block_count(); ++i) {
        for (std::byte byte : prefix.page(i)) {
          if (static_cast<uint64_t>(byte) != numbers[i]) wrong.fetch_add(1);
        }
        hits.fetch_add(1, std::memory_order_relaxed);
      }
    }
  };
  std::thread first(read, 1);
  std::thread second(read, 2);

  std::mt19937_64 random(3);
  uint64_t moved = 0;
  while (moved < kMoves || hits.load() < 1000) {
    const auto block = static_cast<uint32_t>(random() % kBlocks);
    uint64_t next = random() % kKeys;
    if (fake.WordOf(NumberedKey(next)) != 0) continue;  // a key stands once
    const BlockKey old = NumberedKey(holds[block]);
    fake.SetState(old, ResidenceState::kRetiring);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (fake.pins(block) != 0) {
      fake.SetState(old, ResidenceState::kReady);
      continue;
    }
    fake.Erase(old);
    fill(block, next);
    fake.PutBlock(NumberedKey(next), block);
    holds[block] = next;
    ++moved;
  }
  stop.store(true);
  first.join();
  second.join();

  EXPECT_EQ(wrong.load(), 0);
  EXPECT_GE(hits.load(), 1000);
  EXPECT_EQ(fake.pin_sum(), 0);
}

}  // namespace
}  // namespace kvferry::sdk
