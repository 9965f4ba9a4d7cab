// Engines that publish from their paged tensors and pull into them, in several
// processes: every byte, in every layout, wherever the blocks lie.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "tests/integration/gpu_engine_fixture.h"

namespace kvferry::test {
namespace {

absl::Time Later() { return absl::Now() + absl::Seconds(20); }

using GpuTransferTest = GpuEngineTest;

GpuEngine::PublishHow How(BlockResidence residence, uint32_t layers_a_part = 0,
                          uint32_t tail_tokens = 0) {
  GpuEngine::PublishHow how;
  how.residence = residence;
  how.layers_a_part = layers_a_part;
  how.tail_tokens = tail_tokens;
  return how;
}

// Goal    What one process publishes from its tensors another has, byte for
//         byte, in tensors of another layout.
// Method  Every pair of orders; blocks in the GPU and in the host, by layers
//         and whole; full attention and MLA.
TEST_F(GpuTransferTest, AnotherProcessHasEveryByteInItsOwnLayout) {
  StartDaemon();
  uint64_t n = 0;
  for (const uint32_t group : {0u, 1u}) {
    for (const EngineOrder to :
         {EngineOrder::kNhd, EngineOrder::kHnd, EngineOrder::kPacked}) {
      auto reader = Engine(On(group, to));
      ASSERT_NE(reader, nullptr);
      for (const EngineOrder from : {EngineOrder::kNhd, EngineOrder::kPacked}) {
        auto publisher = Peer(On(group, from));
        ASSERT_NE(publisher, nullptr);
        for (const BlockResidence residence :
             {BlockResidence::kGpu, BlockResidence::kHost}) {
          SCOPED_TRACE(testing::Message() << "key " << n);
          ASSERT_THAT(
              publisher->Publish(n, 12, How(residence, n % 24 == 0 ? 0 : 1)),
              IsOk());

          auto pulled = reader->Pull(n, 12, 0, n % 24 == 0 ? 1 : 0);

          ASSERT_THAT(pulled, IsOk());
          EXPECT_THAT(pulled->status, IsOk());
          EXPECT_EQ(pulled->hit, 12u);
          EXPECT_EQ(pulled->in_gpu,
                    residence == BlockResidence::kGpu ? 12u : 0u);
          EXPECT_EQ(pulled->right, 12u);
          n += 12;
        }
      }
    }
  }
}

// Goal    Host memory that is not registered with the device serves as well.
TEST_F(GpuTransferTest, UnregisteredHostMemoryIsStaged) {
  StartDaemon();
  GpuEngine::Options options = On(0, EngineOrder::kHnd);
  options.register_host_memory = false;
  auto publisher = Peer(options);
  auto reader = Engine(options);
  ASSERT_NE(publisher, nullptr);
  ASSERT_NE(reader, nullptr);
  ASSERT_THAT(publisher->Publish(0, 40, How(BlockResidence::kHost, 2)), IsOk());

  auto pulled = reader->Pull(0, 40, 0, /*layers_a_piece=*/4);

  ASSERT_THAT(pulled, IsOk());
  EXPECT_THAT(pulled->status, IsOk());
  EXPECT_EQ(pulled->right, 40u);
  EXPECT_EQ(pulled->in_gpu, 0u);
}

// Goal    A tail's tokens go both ways.
TEST_F(GpuTransferTest, TailsGoBothWays) {
  StartDaemon();
  auto publisher = Peer(On(0, EngineOrder::kNhd));
  auto reader = Engine(On(0, EngineOrder::kHnd));
  ASSERT_NE(publisher, nullptr);
  ASSERT_NE(reader, nullptr);
  uint64_t n = 0;
  for (const BlockResidence residence :
       {BlockResidence::kGpu, BlockResidence::kHost}) {
    ASSERT_THAT(publisher->Publish(n, 4, How(residence, 0, /*tail_tokens=*/7)),
                IsOk());
    auto pulled = reader->Pull(n, 4, /*tail_tokens=*/7);
    ASSERT_THAT(pulled, IsOk());
    EXPECT_THAT(pulled->status, IsOk());
    EXPECT_EQ(pulled->right, 4u);
    n += 4;
  }
}

// Goal    Two ranks write the slices of the same blocks, and two readers with
//         another split have them.
TEST_F(GpuTransferTest, RanksShareBlocks) {
  StartDaemon();
  GpuEngine::Options left = On(0, EngineOrder::kNhd);
  left.slice_first = 0;
  left.slice_count = 1;
  GpuEngine::Options right = On(0, EngineOrder::kPacked);
  right.slice_first = 1;
  right.slice_count = 1;
  auto first = Peer(left);
  auto second = Peer(right);
  auto whole = Engine(On(0, EngineOrder::kHnd));
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  ASSERT_NE(whole, nullptr);
  GpuEngine::PublishHow how = How(BlockResidence::kGpu, 3);
  how.instance = 77;
  how.publication = 1;

  ASSERT_THAT(first->Publish(0, 10, how), IsOk());
  auto pulled = whole->Pull(0, 10);
  ASSERT_THAT(pulled, IsOk());
  EXPECT_EQ(pulled->hit, 0u) << "half of each block";
  ASSERT_THAT(second->Publish(0, 10, how), IsOk());

  pulled = whole->Pull(0, 10);
  ASSERT_THAT(pulled, IsOk());
  EXPECT_THAT(pulled->status, IsOk());
  EXPECT_EQ(pulled->right, 10u);
  EXPECT_EQ(pulled->in_gpu, 10u);
  auto slice = second->Pull(0, 10);
  ASSERT_THAT(slice, IsOk());
  EXPECT_EQ(slice->right, 10u);
}

// Goal    A prompt arrives while it is written, chunk by chunk and layer by
//         layer, and the engine may begin with the first layers.
// Method  A publisher in this process, step by step; a follower of its own
//         client. Blocks in the GPU, and in the host.
TEST_F(GpuTransferTest, FollowsAPublicationWhileItIsWritten) {
  StartDaemon();
  uint64_t n = 0;
  for (const BlockResidence residence :
       {BlockResidence::kGpu, BlockResidence::kHost}) {
    SCOPED_TRACE(testing::Message() << "residence " << int(residence));
    auto publisher = Engine(On(0, EngineOrder::kNhd));
    auto reader = Engine(On(0, EngineOrder::kHnd));
    ASSERT_NE(publisher, nullptr);
    ASSERT_NE(reader, nullptr);
    ASSERT_THAT(publisher->Write(0, n, 12), IsOk());
    ASSERT_THAT(reader->Write(0, 0, 0), IsOk());
    PublicationOptions options;
    options.residence = residence;
    auto publication = publisher->client().OpenPublication(options);
    ASSERT_THAT(publication, IsOk());
    const std::vector<BlockKey> keys = GpuEngine::Keys(n, 12);
    ASSERT_THAT(publication->Begin(0, {}, keys, Later()), IsOk());
    // What is pending is found once the daemon has taken it in.
    PrefixStream stream;
    ASSERT_TRUE(Becomes([&] {
      return reader->client().Match(keys, StreamOptions(), &stream).ok() &&
             stream.block_count() == 12;
    }));
    std::vector<uint64_t> blocks(12);
    std::iota(blocks.begin(), blocks.end(), 0);
    GpuPull pull;
    pull.memory = &reader->memory();
    pull.engine_blocks = blocks;
    GpuPullOptions by_layer;
    by_layer.layers_a_piece = 1;

    auto transfer = reader->gpu().Follow(std::move(stream), pull,
                                         reader->stream(), by_layer);
    ASSERT_THAT(transfer, IsOk());
    EXPECT_FALSE(transfer->done());
    // A whole chunk, then one by layers.
    auto published = publisher->gpu().PublishFrom(
        &*publication, 0, publisher->memory(), std::span(blocks).subspan(0, 5),
        publisher->stream());
    ASSERT_THAT(published, IsOk());
    ASSERT_THAT(published->Wait(Later()), IsOk());
    for (uint32_t layer = 0; layer < 6; layer += 2) {
      GpuPublishOptions part;
      part.first_layer = layer;
      part.layer_count = 2;
      published = publisher->gpu().PublishFrom(
          &*publication, 5, publisher->memory(), std::span(blocks).subspan(5),
          publisher->stream(), part);
      ASSERT_THAT(published, IsOk());
      ASSERT_THAT(published->Wait(Later()), IsOk());
      // Told of without the rest.
      EXPECT_TRUE(
          Becomes([&] { return transfer->launched_layers() >= layer + 2; }));
      EXPECT_THAT(transfer->OrderAfter(reader->stream(), layer + 2), IsOk());
    }
    EXPECT_THAT(transfer->Wait(Later()), IsOk());
    EXPECT_THAT(reader->CountRight(0, n, 12), IsOkAndHolds(12u));
    EXPECT_THAT(publication->Close(Later()), IsOk());
    n += 12;
  }
}

// Goal    What never came is missing, exactly, and the rest is right.
TEST_F(GpuTransferTest, FollowEndsWithItsPublication) {
  StartDaemon();
  auto publisher = Engine(On(0, EngineOrder::kNhd));
  auto reader = Engine(On(0, EngineOrder::kHnd));
  ASSERT_NE(publisher, nullptr);
  ASSERT_NE(reader, nullptr);
  ASSERT_THAT(publisher->Write(0, 0, 8), IsOk());
  PublicationOptions options;
  options.residence = BlockResidence::kGpu;
  auto publication = publisher->client().OpenPublication(options);
  ASSERT_THAT(publication, IsOk());
  const std::vector<BlockKey> keys = GpuEngine::Keys(0, 8);
  ASSERT_THAT(publication->Begin(0, {}, keys, Later()), IsOk());
  PrefixStream stream;
  ASSERT_TRUE(Becomes([&] {
    return reader->client().Match(keys, StreamOptions(), &stream).ok() &&
           stream.block_count() == 8;
  }));
  std::vector<uint64_t> blocks(8);
  std::iota(blocks.begin(), blocks.end(), 0);
  GpuPull pull;
  pull.memory = &reader->memory();
  pull.engine_blocks = blocks;
  auto transfer =
      reader->gpu().Follow(std::move(stream), pull, reader->stream());
  ASSERT_THAT(transfer, IsOk());
  auto published = publisher->gpu().PublishFrom(
      &*publication, 0, publisher->memory(), std::span(blocks).subspan(0, 3),
      publisher->stream());
  ASSERT_THAT(published, IsOk());
  ASSERT_THAT(published->Wait(Later()), IsOk());

  publication->Abort();

  EXPECT_THAT(transfer->Wait(Later()), StatusIs(absl::StatusCode::kAborted));
  EXPECT_THAT(transfer->skipped(), testing::ElementsAre(3, 4, 5, 6, 7));
  EXPECT_THAT(reader->CountRight(0, 0, 3), IsOkAndHolds(3u));
}

// Goal    The Gpu's end ends what it follows, though the publisher stands
//         still.
TEST_F(GpuTransferTest, ClosingEndsWhatIsFollowed) {
  StartDaemon();
  auto publisher = Engine(On(0, EngineOrder::kNhd));
  auto reader = Engine(On(0, EngineOrder::kNhd));
  ASSERT_NE(publisher, nullptr);
  ASSERT_NE(reader, nullptr);
  auto publication = publisher->client().OpenPublication();
  ASSERT_THAT(publication, IsOk());
  const std::vector<BlockKey> keys = GpuEngine::Keys(0, 2);
  ASSERT_THAT(publication->Begin(0, {}, keys, Later()), IsOk());
  PrefixStream stream;
  ASSERT_TRUE(Becomes([&] {
    return reader->client().Match(keys, StreamOptions(), &stream).ok() &&
           stream.block_count() == 2;
  }));
  const std::vector<uint64_t> blocks = {0, 1};
  GpuPull pull;
  pull.memory = &reader->memory();
  pull.engine_blocks = blocks;
  auto transfer =
      reader->gpu().Follow(std::move(stream), pull, reader->stream());
  ASSERT_THAT(transfer, IsOk());

  reader.reset();

  EXPECT_TRUE(transfer->done());
  EXPECT_THAT(transfer->status(), StatusIs(absl::StatusCode::kAborted));
}

// Goal    A pool much smaller than what is published through it: blocks are
//         dropped, spill and come back, and whatever hits is right.
// Method  Three processes over ten times the pool's blocks, by seed.
TEST_F(GpuTransferTest, DropsAndPromotionsKeepEveryByte) {
  StartDaemon("1MiB", {"--gpu-promotion-rate", "1GiB"});
  auto first = Peer(On(0, EngineOrder::kNhd));
  auto second = Peer(On(0, EngineOrder::kHnd));
  auto third = Peer(On(0, EngineOrder::kPacked));
  ASSERT_NE(first, nullptr);
  ASSERT_NE(second, nullptr);
  ASSERT_NE(third, nullptr);
  ASSERT_THAT(first->Churn(1, 20), IsOk());
  ASSERT_THAT(second->Churn(2, 20), IsOk());
  ASSERT_THAT(third->Churn(3, 20), IsOk());
  for (int step = 0; step < 20; ++step) {
    ASSERT_THAT(first->AwaitSteps(4), IsOk());
    ASSERT_THAT(second->AwaitSteps(4), IsOk());
    ASSERT_THAT(third->AwaitSteps(4), IsOk());
  }
  const GpuPoolStatus pool = Pool(0);
  EXPECT_GT(pool.dropped, 0u);
  EXPECT_GT(pool.promoted, 0u);
  EXPECT_GT(pool.written_behind, 0u);
}

}  // namespace
}  // namespace kvferry::test
