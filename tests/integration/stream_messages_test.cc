// What streaming costs the daemon: nothing a layer, a few messages a chunk.

#include "tests/integration/stream_fixture.h"

namespace kvferry::test {
namespace {

// Goal    2,048 blocks of 80 layers are 2,048 blocks in a few commits: layers
//         cost the daemon nothing, not even that it wakes.
// Method  Its doorbells and turns are counted while 80 layers go by one by one.
class StreamMessagesTest : public StreamFixture {
 protected:
  void SetUp() override { StartDaemon("64MiB", {"--spin-us", "0"}); }
};

TEST_F(StreamMessagesTest, LayersAreNoMessages) {
  constexpr uint32_t kBlocks = 2048;
  constexpr uint32_t kManyLayers = 80;
  NamespaceSpec spec = LayeredSpec(1, kManyLayers);
  spec.groups[0].kv_count = 1;
  spec.groups[0].head_bytes = 4;  // 5 KiB a page
  auto reader = Join(spec);
  auto writer = Peer();
  const std::vector<BlockKey> keys = Keys(0, kBlocks);
  ASSERT_THAT(writer->Open(), IsOk());
  ASSERT_THAT(writer->Begin(0, kBlocks), IsOk());
  ASSERT_TRUE(AreComing(reader.get(), keys));
  PrefixStream stream;
  ASSERT_THAT(reader->Match(keys, {}, &stream), IsOk());
  auto admin = Admin();
  const auto before = admin->Status();
  ASSERT_THAT(before, IsOk());

  const absl::Time start = absl::Now();
  for (uint32_t layer = 0; layer < kManyLayers; ++layer) {
    ASSERT_THAT(writer->Write(0, kBlocks, layer, 1), IsOk());
    ASSERT_THAT(writer->CommitLayers(0, kBlocks, layer + 1), IsOk());
    ASSERT_THAT(stream.WaitLayer(kBlocks, layer + 1, Soon()), IsOk());
  }
  const absl::Duration elapsed = absl::Now() - start;
  const auto after = admin->Status();
  ASSERT_THAT(after, IsOk());
  EXPECT_EQ(after->doorbells, before->doorbells);
  // Its own ticks, of 50 ms or more, each up to three turns, and the questions
  // of this test.
  EXPECT_LT(after->loop_iterations - before->loop_iterations,
            16 + 3 * elapsed / absl::Milliseconds(50));

  ASSERT_THAT(writer->CommitAndWait(0, kBlocks), IsOk());
  ASSERT_THAT(stream.WaitCommitted(Soon()), IsOk());
  EXPECT_EQ(stream.ok_blocks(), kBlocks);
  EXPECT_TRUE(OkBlocksAreRight(stream, keys));
  const auto end = admin->Status();
  ASSERT_THAT(end, IsOk());
  EXPECT_LE(end->doorbells - after->doorbells, 8);
}

}  // namespace
}  // namespace kvferry::test
