#include "gpu/transfer_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "gpu/transfer_shape.h"
#include "tests/support/status_matchers.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

// Addresses that are only computed with.
std::byte* At(uint64_t address) {
  return reinterpret_cast<std::byte*>(address);
}
constexpr uint64_t kPage = uint64_t{1} << 40;

constexpr uint32_t kLayers = 4;
constexpr uint32_t kTokens = 16;
constexpr uint32_t kHeads = 8;
constexpr int64_t kHead = 256;
constexpr int64_t kToken = kHeads * kHead;
constexpr int64_t kBlock = kTokens * kToken;
constexpr int64_t kBlocks = 10;

GroupSpec Group() {
  GroupSpec group;
  group.block_tokens = kTokens;
  group.layer_count = kLayers;
  group.head_count = kHeads;
  group.head_bytes = kHead;
  return group;
}

// Layers of these strides, one behind the other and `gap` apart.
EngineLayout Layout(const PagedLayer& strides, int64_t gap) {
  EngineLayout layout;
  layout.group = Group();
  for (uint32_t i = 0; i < kLayers; ++i) {
    layout.layers.push_back(strides);
    layout.layers.back().base = At(4096 + i * gap);
  }
  layout.block_count = kBlocks;
  return layout;
}

// [K, V][block][token][head] of each layer, as FlashAttention has it.
EngineLayout SplitNhd(int64_t gap = 2 * kBlocks * kBlock) {
  return Layout({nullptr, kBlocks * kBlock, kBlock, kToken, kHead}, gap);
}

TransferPlan PlanOf(const EngineLayout& layout, LayerRange layers,
                    const std::vector<PageTransfer>& pages) {
  const auto planner = TransferPlanner::Create(layout);
  EXPECT_THAT(planner, IsOk());
  auto plan = planner->Plan(layers, pages);
  EXPECT_THAT(plan, IsOk());
  return *std::move(plan);
}

PageTransfer Page(uint64_t block, uint32_t valid_tokens = 0,
                  uint32_t slice = 0) {
  return {block, At(kPage), slice, valid_tokens};
}

TEST(TransferPlanTest, RunsThroughWholeFragmentsOfSplitLayouts) {
  const TransferPlan plan = PlanOf(SplitNhd(), {}, {Page(3)});
  ASSERT_EQ(plan.launches.size(), 1u);
  const TransferShape& shape = plan.launches[0].shape;
  EXPECT_EQ(shape.run_bytes, uint64_t{kBlock});
  // Layers and K and V step evenly, on both sides: one loop.
  EXPECT_EQ(shape.loop_count, 1u);
  EXPECT_EQ(shape.runs, 2 * kLayers);
  EXPECT_EQ(shape.base_count, 1u);
  EXPECT_EQ(shape.alignment, 16u);
  ASSERT_EQ(plan.launches[0].pieces.size(), 1u);
  EXPECT_EQ(plan.launches[0].pieces[0].memory_offset, uint64_t{3 * kBlock});
  EXPECT_EQ(plan.launches[0].pieces[0].page, At(kPage));
  EXPECT_EQ(plan.bytes, Group().page_bytes());
}

TEST(TransferPlanTest, RunsThroughKAndVThatLieTogether) {
  const EngineLayout layout = Layout(
      {nullptr, kBlock, 2 * kBlock, kToken, kHead}, 2 * kBlocks * kBlock);
  EXPECT_EQ(layout.RunBytes(), uint64_t{2 * kBlock});
  EXPECT_EQ(PlanOf(layout, {}, {Page(0)}).launches[0].shape.runs, kLayers);
}

TEST(TransferPlanTest, IsOneRunWhereThePageLiesAsItIsStored) {
  const EngineLayout layout = Layout(
      {nullptr, kBlock, 2 * kBlock * kLayers, kToken, kHead}, 2 * kBlock);
  EXPECT_EQ(layout.RunBytes(), Group().page_bytes());
  const TransferShape shape = PlanOf(layout, {}, {Page(0)}).launches[0].shape;
  EXPECT_EQ(shape.loop_count, 0u);
  EXPECT_EQ(shape.runs, 1u);
}

TEST(TransferPlanTest, RunsThroughHeadsWhereTokensLieInThem) {
  const EngineLayout layout =
      Layout({nullptr, kBlocks * kBlock, kBlock, kHead, kTokens * kHead},
             2 * kBlocks * kBlock);
  EXPECT_EQ(layout.RunBytes(), uint64_t{kHead});
  const TransferShape shape = PlanOf(layout, {}, {Page(0)}).launches[0].shape;
  EXPECT_EQ(shape.loop_count, 3u);
  EXPECT_EQ(shape.runs, uint64_t{2} * kLayers * kTokens * kHeads);
}

TEST(TransferPlanTest, RunsThroughTheTokensOfALatent) {
  EngineLayout layout = SplitNhd();
  layout.group.kv_count = 1;
  layout.group.head_count = 1;
  layout.group.head_bytes = 1152;
  for (PagedLayer& layer : layout.layers) {
    layer.block_stride = 1152 * kTokens;
    layer.token_stride = 1152;
    layer.head_stride = 0;
  }
  EXPECT_EQ(layout.RunBytes(), uint64_t{1152} * kTokens);
}

// Goal: a slice of a memory's heads runs through a token, no further.
TEST(TransferPlanTest, RunsThroughTheHeadsOfASlice) {
  EngineLayout layout = SplitNhd();
  layout.group.head_count = kHeads / 4;
  layout.group.slice_count = 8;
  layout.slice_first = 2;
  layout.slice_count = 4;
  EXPECT_EQ(layout.RunBytes(), uint64_t{kToken / 4});
  const TransferPlan plan = PlanOf(layout, {}, {Page(1, 0, 5)});
  EXPECT_EQ(plan.launches[0].pieces[0].memory_offset,
            uint64_t{kBlock + 3 * kToken / 4});
}

TEST(TransferPlanTest, RunsThroughSubBlocksThatLieTogether) {
  EngineLayout layout = SplitNhd();
  layout.sub_blocks = 4;
  for (PagedLayer& layer : layout.layers) layer.block_stride = kBlock / 4;
  EXPECT_EQ(layout.RunBytes(), uint64_t{kBlock});
  EXPECT_EQ(PlanOf(layout, {}, {Page(3)}).launches[0].pieces[0].memory_offset,
            uint64_t{3 * kBlock});
}

TEST(TransferPlanTest, HasABaseForEachLayerThatIsNotEvenlySpaced) {
  EngineLayout layout = SplitNhd();
  std::swap(layout.layers[1].base, layout.layers[2].base);
  const TransferPlan plan = PlanOf(layout, {}, {Page(0)});
  ASSERT_EQ(plan.launches.size(), 1u);
  EXPECT_EQ(plan.launches[0].shape.base_count, kLayers);
  EXPECT_EQ(plan.launches[0].shape.runs, 2u);
  EXPECT_EQ(plan.launches[0].shape.page_base_stride, 2 * kBlock);
}

TEST(TransferPlanTest, LaunchesOnceForLayersThatAreAlike) {
  EngineLayout layout = SplitNhd();
  // The last two are HND.
  for (uint32_t i = 2; i < 4; ++i) {
    layout.layers[i].token_stride = kHead;
    layout.layers[i].head_stride = kTokens * kHead;
  }
  EXPECT_EQ(layout.RunBytes(), uint64_t{kHead});
  const TransferPlan plan = PlanOf(layout, {}, {Page(0), Page(1)});
  ASSERT_EQ(plan.launches.size(), 2u);
  EXPECT_EQ(plan.launches[0].shape.run_bytes, uint64_t{kBlock});
  EXPECT_EQ(plan.launches[0].first_base, 0u);
  EXPECT_EQ(plan.launches[1].shape.run_bytes, uint64_t{kHead});
  EXPECT_EQ(plan.launches[1].first_base, 2u);
  EXPECT_EQ(plan.launches[1].pieces[0].page, At(kPage + 4 * kBlock));
  EXPECT_EQ(plan.launches[1].pieces.size(), 2u);
}

// Goal: layers are alike only if all their strides are.
// Method: one stride of the second layer differs at a time.
TEST(TransferPlanTest, LaunchesLayersApartThatDifferInAnyStride) {
  for (int64_t PagedLayer::*const stride :
       {&PagedLayer::kv_stride, &PagedLayer::block_stride,
        &PagedLayer::token_stride, &PagedLayer::head_stride}) {
    EngineLayout layout = SplitNhd();
    layout.layers[1].*stride += 16;
    const TransferPlan plan = PlanOf(layout, {}, {Page(0)});
    ASSERT_EQ(plan.launches.size(), 3u);
    EXPECT_EQ(plan.launches[1].first_base, 1u);
    EXPECT_EQ(plan.launches[2].first_base, 2u);
  }
}

TEST(TransferPlanTest, TakesARangeOfLayers) {
  const TransferPlan plan = PlanOf(SplitNhd(), {1, 2}, {Page(0)});
  ASSERT_EQ(plan.launches.size(), 1u);
  EXPECT_EQ(plan.launches[0].first_base, 1u);
  EXPECT_EQ(plan.launches[0].shape.runs, 4u);
  EXPECT_EQ(plan.launches[0].pieces[0].page, At(kPage + 2 * kBlock));
  EXPECT_EQ(plan.bytes, Group().page_bytes() / 2);
}

// Goal: tails of one length share launches; whole sub blocks are one, what is
//       left of the next is another.
TEST(TransferPlanTest, LaunchesTailsByTheirLength) {
  EngineLayout layout = SplitNhd();
  layout.sub_blocks = 4;
  for (PagedLayer& layer : layout.layers) layer.block_stride = kBlock / 4;
  const TransferPlan plan = PlanOf(
      layout, {}, {Page(0), Page(1, 6), Page(2, 6), Page(3), Page(4, 4)});
  ASSERT_EQ(plan.launches.size(), 3u);
  EXPECT_EQ(plan.launches[0].pieces.size(), 2u);  // full
  EXPECT_EQ(plan.launches[0].shape.run_bytes, uint64_t{16 * kToken});
  EXPECT_EQ(plan.launches[1].pieces.size(), 3u);  // one whole sub block
  EXPECT_EQ(plan.launches[1].shape.run_bytes, uint64_t{4 * kToken});
  EXPECT_EQ(plan.launches[2].pieces.size(), 2u);  // two tokens of the next
  EXPECT_EQ(plan.launches[2].shape.run_bytes, uint64_t{2 * kToken});
  EXPECT_EQ(plan.launches[2].pieces[0].page, At(kPage + 4 * kToken));
  EXPECT_EQ(plan.launches[2].pieces[0].memory_offset,
            uint64_t{kBlock + kBlock / 4});
  EXPECT_EQ(plan.bytes, uint64_t{16 + 6 + 6 + 16 + 4} * kToken * 2 * kLayers);
}

// Goal: alignment is what divides every address on the engine's side.
// Method: one thing at a time is less aligned.
TEST(TransferPlanTest, KnowsHowItIsAligned) {
  const auto alignment = [](const EngineLayout& layout) {
    return PlanOf(layout, {}, {Page(0)}).launches[0].shape.alignment;
  };
  EXPECT_EQ(alignment(SplitNhd()), 16u);
  EXPECT_EQ(alignment(SplitNhd(2 * kBlocks * kBlock + 8)), 8u);
  EngineLayout layout = SplitNhd();
  for (PagedLayer& layer : layout.layers) layer.base += 4;
  EXPECT_EQ(alignment(layout), 4u);
  layout = SplitNhd();
  layout.layers[2].base += 1;
  EXPECT_EQ(alignment(layout), 1u);
  layout = SplitNhd();
  for (PagedLayer& layer : layout.layers) layer.block_stride += 2;
  EXPECT_EQ(alignment(layout), 2u);
  layout = SplitNhd();
  layout.group.head_bytes = 24;
  EXPECT_EQ(alignment(layout), 8u);
}

// Goal: RunOffsets counts every run once, in the order of the page.
TEST(TransferPlanTest, CountsEveryRunOnce) {
  const EngineLayout layout =
      Layout({nullptr, kBlocks * kBlock, kBlock, kHead, kTokens * kHead},
             2 * kBlocks * kBlock);
  const TransferShape shape = PlanOf(layout, {}, {Page(0)}).launches[0].shape;
  std::set<uint64_t> memory;
  for (uint64_t run = 0; run < shape.runs; ++run) {
    const TransferOffsets offsets = RunOffsets(shape, run);
    EXPECT_EQ(offsets.page, run * shape.run_bytes);
    memory.insert(offsets.memory);
  }
  EXPECT_EQ(memory.size(), shape.runs);
}

TEST(TransferPlanTest, CollapsesLoopsThatRunBackwards) {
  // Two loops backwards in the engine, forwards in the page.
  const TransferShape shape = CollapseLoops(
      {{{1, 7, 7}, {3, -64, 64}, {4, -16, 16}, {1, 0, 0}, {1, 0, 0}}}, 16);
  EXPECT_EQ(shape.run_bytes, 16u);
  EXPECT_EQ(shape.loop_count, 1u);
  EXPECT_EQ(shape.runs, 12u);
  EXPECT_EQ(RunOffsets(shape, 11).memory, static_cast<uint64_t>(-11 * 16));
  EXPECT_EQ(RunOffsets(shape, 11).page, 11u * 16);
}

TEST(TransferPlanTest, ExtendsNoRunBeyondALoopWithin) {
  // Pairs, 64 bytes apart, of which one half comes first.
  const TransferShape shape = CollapseLoops(
      {{{2, 16, 16}, {3, 64, 64}, {1, 0, 0}, {1, 0, 0}, {1, 0, 0}}}, 16);
  EXPECT_EQ(shape.run_bytes, 16u);
  EXPECT_EQ(shape.loop_count, 2u);
  EXPECT_EQ(shape.runs, 6u);
}

TEST(TransferPlanTest, JoinsLoopsThatStepEvenlyOnBothSidesOnly) {
  const TransferShape memory_only = CollapseLoops(
      {{{2, 192, 1000}, {3, 64, 64}, {1, 0, 0}, {1, 0, 0}, {1, 0, 0}}}, 16);
  EXPECT_EQ(memory_only.loop_count, 2u);
  const TransferShape both = CollapseLoops(
      {{{2, 192, 192}, {3, 64, 64}, {1, 0, 0}, {1, 0, 0}, {1, 0, 0}}}, 16);
  EXPECT_EQ(both.loop_count, 1u);
  EXPECT_EQ(both.runs, 6u);
}

TEST(TransferPlanTest, PlansNothingForNoPages) {
  const TransferPlan plan = PlanOf(SplitNhd(), {}, {});
  EXPECT_TRUE(plan.launches.empty());
  EXPECT_EQ(plan.bytes, 0u);
}

// --- EngineLayout ---------------------------------------------------------

// Goal: what PagedMemory refuses is refused, with the value and the limit.
TEST(EngineLayoutTest, RefusesWhatIsNotThere) {
  const std::pair<void (*)(EngineLayout*), const char*> cases[] = {
      {[](EngineLayout* l) { l->group.head_bytes = 0; }, "0 bytes"},
      {[](EngineLayout* l) { l->group.slice_count = 0; }, "of 0 slices"},
      {[](EngineLayout* l) {
         l->group.head_bytes = l->group.head_count = UINT32_MAX;
       },
       "less than 2^64"},
      {[](EngineLayout* l) { l->layers.pop_back(); }, "3 layers"},
      {[](EngineLayout* l) { l->layers[2].base = nullptr; }, "layer 2"},
      {[](EngineLayout* l) { l->block_count = 0; }, "0 blocks"},
      {[](EngineLayout* l) { l->slice_first = 1; }, "slices [1, +0)"},
      {[](EngineLayout* l) { l->slice_count = 2; }, "slices [0, +2)"},
      {[](EngineLayout* l) { l->sub_blocks = 0; }, "in 0 parts"},
      {[](EngineLayout* l) { l->sub_blocks = 3; }, "in 3 parts"},
  };
  EXPECT_THAT(SplitNhd().Check(), IsOk());
  for (const auto& [change, says] : cases) {
    SCOPED_TRACE(says);
    EngineLayout layout = SplitNhd();
    change(&layout);
    EXPECT_THAT(layout.Check(),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(says)));
    EXPECT_EQ(layout.RunBytes(), 0u);
  }
}

TEST(EngineLayoutTest, TakesAllSlicesFromTheFirstForNone) {
  EngineLayout layout = SplitNhd();
  layout.group.slice_count = 4;
  layout.slice_first = 1;
  layout.slice_count = 0;
  ASSERT_THAT(layout.Check(), IsOk());
  const auto planner = TransferPlanner::Create(layout);
  ASSERT_THAT(planner, IsOk());
  const PageTransfer last = Page(0, 0, 3);
  EXPECT_THAT(planner->Plan({}, {&last, 1}), IsOk());
  const PageTransfer before = Page(0, 0, 0);
  EXPECT_THAT(planner->Plan({}, {&before, 1}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("slices [1, +3)")));
}

}  // namespace
}  // namespace kvferry::gpu
