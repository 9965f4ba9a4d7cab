#include "sdk/examples/llama/timeline.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>

namespace kvferry::llama {
namespace {

TEST(TimelineTest, WritesALineForEachEventWithThePartsThatAreKnown) {
  Timeline timeline("prefill");

  timeline.Span("compute", 5, 9, {.chunk = 1, .layer = 2});
  timeline.Instant("ok", 10, {.blocks = 7});

  EXPECT_EQ(timeline.ToString(),
            "{\"process\":\"prefill\",\"name\":\"compute\",\"begin_ns\":5,"
            "\"end_ns\":9,\"chunk\":1,\"layer\":2}\n"
            "{\"process\":\"prefill\",\"name\":\"ok\",\"begin_ns\":10,"
            "\"end_ns\":10,\"blocks\":7}\n");
}

TEST(TimelineTest, GoesToAFileOnlyWhenThereIsOne) {
  Timeline timeline("decode");
  timeline.Instant("first_token", Timeline::NowNs());
  const std::string path = ::testing::TempDir() + "llama_timeline.jsonl";

  EXPECT_TRUE(timeline.WriteTo("").ok());
  ASSERT_TRUE(timeline.WriteTo(path).ok());
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::remove(path.c_str());

  EXPECT_EQ(text, timeline.ToString());
  EXPECT_EQ(timeline.WriteTo(path + ".none/file").code(),
            absl::StatusCode::kNotFound);
}

TEST(TimelineTest, ItsClockDoesNotGoBack) {
  const uint64_t before = Timeline::NowNs();

  EXPECT_LE(before, Timeline::NowNs());
}

}  // namespace
}  // namespace kvferry::llama
