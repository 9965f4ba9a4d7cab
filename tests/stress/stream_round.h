#ifndef KVFERRY_TESTS_STRESS_STREAM_ROUND_H_
#define KVFERRY_TESTS_STRESS_STREAM_ROUND_H_

#include <cstdint>
#include <string>
#include <vector>

#include "kvferry/client.h"

namespace kvferry::test {

// One round of the stress of streaming, all of it a function of its seed, so
// that the processes of a round agree on it and a seed repeats it.

inline constexpr uint32_t kRoundLayers = 4;
inline constexpr uint32_t kRoundLayerBytes = 1024;
inline constexpr uint32_t kRoundSlices = 2;
inline constexpr uint32_t kRoundTokens = 16;
// The least that a publisher may ask for.
inline constexpr uint32_t kRoundStallMs = 100;

enum class Scenario : uint32_t {
  kSingle,   // one publisher writes every slice
  kStandby,  // two write the same keys, every slice
  kRanks,    // two write one slice each
};

enum class Ending : uint32_t {
  kComplete,
  kShort,  // closes before the prompt is whole
  kAbort,
  kKilled,   // SIGKILL, by itself, at a step of its script
  kStopped,  // SIGSTOP; goes on when it is continued
};

enum class ActionType : uint32_t {
  kBegin,   // the next `count` keys
  kWrite,   // layers [layer, layer + layers) of [first, first + count)
  kLayers,  // says that [first, first + count) has its first `layers`
  kCommit,
  kCommitAndWait,
  kHandOver,
  kPause,  // `count` microseconds of computing
  kMeet,   // waits until the other rank has begun every block, too
};

struct Action {
  ActionType type = ActionType::kPause;
  uint32_t first = 0;
  uint32_t count = 0;
  uint32_t layer = 0;
  uint32_t layers = 0;
};

struct PublisherPlan {
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;
  std::vector<Action> script;  // what it would do if nothing happened
  Ending ending = Ending::kComplete;
  uint32_t end_at = 0;  // index of the action before which it ends
};

enum class ReaderMode : uint32_t {
  kPullLayers,
  kPullBlocks,
  kChunksInPlace,
  kLayersInPlace,
  kEventLoop,
  kCommitted,
  kChanges,
};
inline constexpr uint32_t kReaderModes = 7;

struct ReaderPlan {
  ReaderMode mode = ReaderMode::kPullLayers;
  uint32_t keys = 0;      // it wants the first so many
  uint32_t joins_at = 0;  // when so many blocks are there or on their way
  bool by_ticket = false;
  uint64_t seed = 0;
};

struct RoundPlan {
  uint64_t seed = 0;
  Scenario scenario = Scenario::kSingle;
  uint32_t blocks = 0;
  bool ticket = false;  // the first publisher mints one before it begins
  std::vector<PublisherPlan> publishers;
  std::vector<ReaderPlan> readers;
  bool victim = false;          // one more reader, a process that is killed
  uint32_t victim_dies_at = 0;  // when so many blocks are committed
  uint32_t pause_ms = 0;  // a stopped publisher is continued after it; 0: when
                          // its readers are done with it

  static RoundPlan Make(uint64_t seed);
  std::string ToString() const;
};

NamespaceSpec RoundSpec();
// The prompt's keys; no two seeds share one.
std::vector<BlockKey> RoundKeys(const NamespaceInfo& info, uint64_t seed,
                                uint32_t blocks);

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_STREAM_ROUND_H_
