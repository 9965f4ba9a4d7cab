#include "tools/kvferry-replay/trace_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "tests/support/status_matchers.h"

namespace kvferry::replay {
namespace {

using test::StatusIs;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

constexpr char kGood[] =
    R"({"timestamp": 5, "input_length": 1025, "output_length": 2, )"
    R"("hash_ids": [0, 7, 18446744073709551615], "extra": {"a": [1]}})";

absl::StatusOr<std::vector<TraceRequest>> Read(
    const std::string& text, TraceReaderOptions options = {}) {
  std::istringstream in(text);
  return ReadTrace(in, "trace.jsonl", options);
}

std::string Line(int timestamp) {
  return R"({"timestamp": )" + std::to_string(timestamp) +
         R"(, "input_length": 512, "output_length": 1, "hash_ids": [1]})"
         "\n";
}

TEST(ParseTraceLineTest, ReadsARequestAndIgnoresOtherMembers) {
  const auto request = ParseTraceLine(kGood, 512);

  ASSERT_TRUE(request.ok()) << request.status();
  EXPECT_EQ(request->timestamp_ms, 5u);
  EXPECT_EQ(request->input_tokens, 1025u);
  EXPECT_EQ(request->output_tokens, 2u);
  EXPECT_THAT(request->hash_ids, ElementsAre(0, 7, UINT64_MAX));
}

TEST(ParseTraceLineTest, AnIncompleteLastBlockMayHaveNoId) {
  EXPECT_TRUE(
      ParseTraceLine(R"({"timestamp":0,"input_length":1025,"output_length":0,)"
                     R"("hash_ids":[0,7]})",
                     512)
          .ok());
}

struct BadLine {
  const char* line;
  const char* reason;
};

class ParseTraceLineRefusesTest : public testing::TestWithParam<BadLine> {};

TEST_P(ParseTraceLineRefusesTest, AndSaysWhy) {
  EXPECT_THAT(ParseTraceLine(GetParam().line, 512),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr(GetParam().reason)));
}

INSTANTIATE_TEST_SUITE_P(
    Lines, ParseTraceLineRefusesTest,
    testing::Values(
        BadLine{"hello", "not JSON"},
        BadLine{R"({"timestamp": 5, "input_length")", "not JSON"},
        BadLine{"[1, 2]", "a JSON array, not an object"},
        BadLine{"{}", "\"timestamp\" is missing"},
        BadLine{R"({"timestamp":0,"output_length":1,"hash_ids":[1]})",
                "\"input_length\" is missing"},
        BadLine{R"({"timestamp":0,"input_length":1,"output_length":1})",
                "\"hash_ids\" is missing"},
        BadLine{R"({"timestamp":-1,"input_length":1,"output_length":1,)"
                R"("hash_ids":[1]})",
                "\"timestamp\" is -1"},
        BadLine{R"({"timestamp":0,"input_length":"many","output_length":1,)"
                R"("hash_ids":[1]})",
                "\"input_length\" is \"many\""},
        BadLine{R"({"timestamp":0,"input_length":1.5,"output_length":1,)"
                R"("hash_ids":[1]})",
                "\"input_length\" is 1.5"},
        BadLine{R"({"timestamp":0,"input_length":0,"output_length":1,)"
                R"("hash_ids":[]})",
                "\"input_length\" is 0"},
        BadLine{R"({"timestamp":0,"input_length":1,"output_length":1,)"
                R"("hash_ids":7})",
                "\"hash_ids\" is 7, not an array"},
        BadLine{R"({"timestamp":0,"input_length":1024,"output_length":1,)"
                R"("hash_ids":[1,null]})",
                "\"hash_ids\"[1] is null"},
        BadLine{R"({"timestamp":0,"input_length":1024,"output_length":1,)"
                R"("hash_ids":[1]})",
                "has 1 members, but 1024 tokens are 2 full blocks of 512"},
        BadLine{R"({"timestamp":0,"input_length":600,"output_length":1,)"
                R"("hash_ids":[1,2,3]})",
                "has 3 members, but 600 tokens are 1 full blocks of 512 and "
                "one incomplete"}));

TEST(ParseTraceLineTest, RefusesMoreBlocksThanMatchTakes) {
  std::string line =
      R"({"timestamp":0,"input_length":16385,"output_length":1,"hash_ids":[0)";
  for (int i = 1; i < 16385; ++i) line += ",0";

  EXPECT_THAT(ParseTraceLine(line + "]}", 1),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("16385 members; the limit of one prompt is "
                                 "16384")));
}

TEST(ReadTraceTest, NamesFileAndLineOfABadOne) {
  EXPECT_THAT(Read(Line(0) + "\n" + Line(1) + "{\n" + Line(2)),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       StartsWith("trace.jsonl:4: not JSON")));
}

TEST(ReadTraceTest, SortsByTimeAndKeepsLineNumbers) {
  const auto requests = Read(Line(9) + Line(3) + "\r\n" + Line(3));

  ASSERT_TRUE(requests.ok()) << requests.status();
  ASSERT_EQ(requests->size(), 3u);
  EXPECT_EQ((*requests)[0].line, 2u);
  EXPECT_EQ((*requests)[1].line, 4u);
  EXPECT_EQ((*requests)[2].line, 1u);
}

TEST(ReadTraceTest, StopsAtTheLimit) {
  const auto requests = Read(Line(0) + Line(1) + "broken", {512, 2});

  ASSERT_TRUE(requests.ok()) << requests.status();
  EXPECT_EQ(requests->size(), 2u);
}

TEST(ReadTraceTest, RefusesATraceOfNothing) {
  EXPECT_THAT(Read("\n\n"), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("no request")));
}

TEST(ReadTraceFileTest, NamesAFileThatIsNotThere) {
  EXPECT_THAT(
      ReadTraceFile("/nonexistent/trace", {}),
      StatusIs(absl::StatusCode::kNotFound, HasSubstr("/nonexistent/trace")));
}

}  // namespace
}  // namespace kvferry::replay
