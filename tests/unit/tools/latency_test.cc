#include "tools/kvferry-replay/latency.h"

#include <gtest/gtest.h>

namespace kvferry::replay {
namespace {

TEST(LatencySamplesTest, OfNothingIsZero) {
  EXPECT_EQ(LatencySamples().Summarize(), LatencySummary());
}

TEST(LatencySamplesTest, OfOneIsThatOne) {
  LatencySamples samples;
  samples.Add(7);
  EXPECT_EQ(samples.Summarize(), (LatencySummary{1, 7, 7, 7}));
}

TEST(LatencySamplesTest, TakesExactPercentilesOfUnsortedSamples) {
  LatencySamples samples;
  for (uint64_t i = 200; i > 0; --i) samples.Add(i * 10);
  EXPECT_EQ(samples.Summarize(), (LatencySummary{200, 1000, 1980, 2000}));
}

TEST(LatencySamplesTest, AWeightIsThatManySamples) {
  LatencySamples samples;
  samples.Add(5, 98);
  samples.Add(900, 2);
  samples.Add(1, 0);
  EXPECT_EQ(samples.Summarize(), (LatencySummary{100, 5, 900, 900}));
}

}  // namespace
}  // namespace kvferry::replay
