#include "tools/kvferry-replay/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kvferry::replay {
namespace {

using testing::HasSubstr;

JobResult HalfHit() {
  JobResult result;
  result.blocks = 4;
  result.hit_blocks = 2;
  result.input_tokens = 2000;
  result.hit_tokens = 1024;
  result.read_bytes = 8192;
  result.written_blocks = 2;
  result.written_bytes = 8192;
  result.match_ns = 500;
  result.publish_ns = 4000;
  return result;
}

TEST(ReplayReportTest, AddsUpRequests) {
  ReplayReport report;
  report.Add(HalfHit());
  JobResult full = HalfHit();
  full.hit_blocks = 4;
  full.hit_tokens = 2000;
  full.read_bytes = 16384;
  full.written_blocks = full.written_bytes = full.publish_ns = 0;
  full.match_ns = 700;
  report.Add(full);
  report.set_evicted_blocks(3);
  report.set_wall_time(absl::Seconds(2));

  const tools::Json json = report.ToJson(ReplayOptions());
  EXPECT_EQ(json["requests"], 2);
  EXPECT_EQ(json["blocks"], 8);
  EXPECT_EQ(json["hit_blocks"], 6);
  EXPECT_EQ(json["hit_rate_blocks"], 0.75);
  EXPECT_EQ(json["hit_rate_tokens"], 3024.0 / 4000);
  EXPECT_EQ(json["read_bytes"], 24576);
  EXPECT_EQ(json["written_bytes"], 8192);
  EXPECT_EQ(json["evicted_blocks"], 3);
  EXPECT_EQ(json["wall_ms"], 2000);
  EXPECT_EQ(json["match_p50_ns"], 500);
  EXPECT_EQ(json["match_max_ns"], 700);
  EXPECT_EQ(json["publish_request_p50_ns"], 4000);
  EXPECT_EQ(json["publish_block_p50_ns"], 2000);
  EXPECT_EQ(json["mismatched_blocks"], 0);
}

TEST(ReplayReportTest, SaysWhatEveryBlockThatWasNotWrittenCameTo) {
  ReplayReport report;
  JobResult result;
  result.blocks = 1 + 2 + 3 + 4;
  result.existing_blocks = 1;
  result.in_flight_blocks = 2;
  result.no_space_blocks = 3;
  result.void_blocks = 4;
  result.mismatched_blocks = 5;
  report.Add(result);

  EXPECT_EQ(report.mismatched_blocks(), 5u);
  const std::string text = report.ToText(ReplayOptions());
  EXPECT_THAT(text, HasSubstr("1 came meanwhile, 2 being written by another, "
                              "3 without space, 4 void"));
  EXPECT_THAT(text, HasSubstr("mismatches   5 pages"));
  EXPECT_THAT(text, HasSubstr("evicted      unknown"));
}

TEST(ReplayReportTest, DoesNotNameThePoolOfADaemonThatWasThere) {
  ReplayOptions options;
  EXPECT_EQ(ReplayReport().ToJson(options)["pool_bytes"], options.pool_bytes);
  options.socket = "/run/x.sock";
  EXPECT_TRUE(ReplayReport().ToJson(options)["pool_bytes"].is_null());
}

}  // namespace
}  // namespace kvferry::replay
