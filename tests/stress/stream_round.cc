#include "tests/stress/stream_round.h"

#include <algorithm>
#include <iterator>
#include <random>

#include "absl/strings/str_cat.h"

namespace kvferry::test {
namespace {

using Random = std::mt19937_64;

uint32_t Between(Random& random, uint32_t least, uint32_t most) {
  return least + static_cast<uint32_t>(random() % (most - least + 1));
}
bool OneIn(Random& random, uint32_t n) { return random() % n == 0; }

std::vector<Action> Script(Random& random, uint32_t blocks,
                           bool begin_all_first) {
  std::vector<Action> script;
  uint32_t begun = 0;
  uint32_t committed = 0;
  const auto pause = [&] {
    if (!OneIn(random, 3)) return;
    script.push_back({ActionType::kPause, 0, Between(random, 1, 1500)});
  };
  while (committed < blocks) {
    if (begun < blocks &&
        (begin_all_first || begun == committed || OneIn(random, 3))) {
      const uint32_t count = Between(random, 1, std::min(24u, blocks - begun));
      script.push_back({ActionType::kBegin, begun, count});
      begun += count;
      if (begin_all_first && begun == blocks) {
        script.push_back({ActionType::kMeet});
      }
      pause();
      continue;
    }
    const uint32_t chunk = Between(random, 1, begun - committed);
    const bool layered = !OneIn(random, 3);
    for (uint32_t layer = 0; layer < kRoundLayers;) {
      const uint32_t layers =
          layered ? Between(random, 1, kRoundLayers - layer) : kRoundLayers;
      script.push_back({ActionType::kWrite, committed, chunk, layer, layers});
      layer += layers;
      if (layered && !OneIn(random, 4)) {
        script.push_back({ActionType::kLayers, committed, chunk, 0, layer});
      }
      pause();
    }
    if (committed + chunk == blocks) script.push_back({ActionType::kHandOver});
    script.push_back(
        {OneIn(random, 4) ? ActionType::kCommitAndWait : ActionType::kCommit,
         committed, chunk});
    committed += chunk;
    pause();
  }
  return script;
}

PublisherPlan Publisher(Random& random, uint32_t blocks, Ending ending,
                        bool rank = false) {
  PublisherPlan plan;
  plan.script = Script(random, blocks, /*begin_all_first=*/rank);
  plan.ending = ending;
  const auto steps = static_cast<uint32_t>(plan.script.size());
  uint32_t earliest = 0;
  while (rank && plan.script[earliest].type != ActionType::kMeet) ++earliest;
  plan.end_at = ending == Ending::kComplete
                    ? steps
                    : Between(random, earliest + (rank ? 1 : 0), steps - 1);
  return plan;
}

Ending AnyEnding(Random& random) {
  switch (random() % 10) {
    case 0:
    case 1:
      return Ending::kComplete;
    case 2:
      return Ending::kShort;
    case 3:
    case 4:
      return Ending::kAbort;
    case 5:
    case 6:
    case 7:
      return Ending::kKilled;
    default:
      return Ending::kStopped;
  }
}

}  // namespace

RoundPlan RoundPlan::Make(uint64_t seed) {
  Random random(seed * 0x9e37'79b9'7f4a'7c15 + 1);
  RoundPlan plan;
  plan.seed = seed;
  constexpr Scenario kMix[] = {Scenario::kSingle, Scenario::kSingle,
                               Scenario::kStandby, Scenario::kRanks};
  plan.scenario = kMix[random() % std::size(kMix)];
  plan.blocks = Between(random, 1, 96);
  plan.ticket = OneIn(random, 2);
  const Ending ending = AnyEnding(random);
  if (plan.scenario == Scenario::kRanks) {
    // Only one of them fails, once both have begun every block: what one rank
    // has begun and the other never comes to waits for seconds, as it should.
    const uint32_t failing = OneIn(random, 2) ? 0 : 1;
    for (uint32_t slice = 0; slice < 2; ++slice) {
      plan.publishers.push_back(Publisher(
          random, plan.blocks, slice == failing ? ending : Ending::kComplete,
          /*rank=*/true));
      plan.publishers.back().slice_first = slice;
      plan.publishers.back().slice_count = 1;
    }
  } else {
    plan.publishers.push_back(Publisher(random, plan.blocks, ending));
  }
  if (plan.scenario == Scenario::kStandby) {
    plan.publishers.push_back(
        Publisher(random, plan.blocks,
                  OneIn(random, 2) ? Ending::kComplete : AnyEnding(random)));
  }
  const uint32_t readers = Between(random, 1, 3);
  for (uint32_t i = 0; i < readers; ++i) {
    ReaderPlan reader;
    reader.mode = static_cast<ReaderMode>(random() % kReaderModes);
    reader.keys =
        OneIn(random, 4) ? Between(random, 1, plan.blocks) : plan.blocks;
    reader.joins_at = OneIn(random, 2) ? 0 : Between(random, 0, plan.blocks);
    reader.by_ticket = plan.ticket && OneIn(random, 2);
    reader.seed = random();
    plan.readers.push_back(reader);
  }
  plan.victim = OneIn(random, 6);
  plan.victim_dies_at = Between(random, 0, plan.blocks);
  plan.pause_ms = OneIn(random, 3) ? Between(random, 1, 60) : 0;
  return plan;
}

std::string RoundPlan::ToString() const {
  constexpr const char* kScenarios[] = {"single", "standby", "ranks"};
  constexpr const char* kEndings[] = {"complete", "short", "abort", "killed",
                                      "stopped"};
  std::string text = absl::StrCat(
      "seed ", seed, ", ", kScenarios[static_cast<uint32_t>(scenario)], ", ",
      blocks, " blocks", ticket ? ", ticket" : "");
  for (const PublisherPlan& publisher : publishers) {
    absl::StrAppend(&text, ", publisher ",
                    kEndings[static_cast<uint32_t>(publisher.ending)], " at ",
                    publisher.end_at, "/", publisher.script.size());
  }
  for (const ReaderPlan& reader : readers) {
    absl::StrAppend(&text, ", reader mode ", static_cast<uint32_t>(reader.mode),
                    " keys ", reader.keys, " joins at ", reader.joins_at,
                    reader.by_ticket ? " by ticket" : "");
  }
  return text;
}

NamespaceSpec RoundSpec() {
  NamespaceSpec spec;
  spec.name = "stream";
  GroupSpec group;
  group.block_tokens = kRoundTokens;
  group.layer_count = kRoundLayers;
  group.kv_count = 2;
  group.head_bytes = kRoundLayerBytes / kRoundTokens / 2;
  group.slice_count = kRoundSlices;
  spec.groups.push_back(group);
  return spec;
}

std::vector<BlockKey> RoundKeys(const NamespaceInfo& info, uint64_t seed,
                                uint32_t blocks) {
  KeyHasher hasher(info.salt, 0, kRoundTokens);
  std::vector<uint32_t> tokens(blocks * kRoundTokens);
  for (uint32_t i = 0; i < tokens.size(); ++i) tokens[i] = i;
  std::vector<BlockKey> keys;
  hasher.HashBlocks({}, tokens, &keys, absl::StrCat("round ", seed));
  return keys;
}

}  // namespace kvferry::test
