#include "tools/kvferry-replay/trace_generator.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>

namespace kvferry::replay {
namespace {

std::string Text(uint64_t seed, uint64_t count) {
  std::ostringstream out;
  WriteTrace(GenerateTrace(seed, count, 512), out);
  return out.str();
}

TEST(TraceGeneratorTest, TheSeedDecidesTheTrace) {
  EXPECT_EQ(Text(1, 50), Text(1, 50));
  EXPECT_NE(Text(1, 50), Text(2, 50));
}

TEST(TraceGeneratorTest, WritesWhatTheReaderReads) {
  const auto generated = GenerateTrace(3, 500, 512);
  std::ostringstream out;
  WriteTrace(generated, out);

  std::istringstream in(out.str());
  const auto read = ReadTrace(in, "generated", {});

  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_EQ(read->size(), generated.size());
  for (size_t i = 0; i < generated.size(); ++i) {
    EXPECT_EQ((*read)[i].line, generated[i].line);
    EXPECT_EQ((*read)[i].timestamp_ms, generated[i].timestamp_ms);
    EXPECT_EQ((*read)[i].input_tokens, generated[i].input_tokens);
    EXPECT_EQ((*read)[i].output_tokens, generated[i].output_tokens);
    EXPECT_EQ((*read)[i].hash_ids, generated[i].hash_ids);
  }
}

// Goal    Ids form a tree, as chained blocks do: an id has one predecessor.
// Method  The predecessor of every id in every request, compared.
TEST(TraceGeneratorTest, EqualIdsFollowEqualPrefixes) {
  std::map<uint64_t, uint64_t> parents;
  for (const TraceRequest& request : GenerateTrace(4, 2000, 512)) {
    uint64_t parent = UINT64_MAX;
    for (const uint64_t id : request.hash_ids) {
      EXPECT_EQ(parents.emplace(id, parent).first->second, parent) << id;
      parent = id;
    }
  }
}

TEST(TraceGeneratorTest, SharesPrefixesAmongConversations) {
  std::map<uint64_t, int> seen;
  uint64_t blocks = 0;
  uint64_t repeated = 0;
  for (const TraceRequest& request : GenerateTrace(5, 2000, 512)) {
    for (const uint64_t id : request.hash_ids) {
      ++blocks;
      repeated += seen[id]++ > 0;
    }
  }
  EXPECT_GT(repeated * 100, blocks * 30);
  EXPECT_LT(repeated * 100, blocks * 95);
}

}  // namespace
}  // namespace kvferry::replay
