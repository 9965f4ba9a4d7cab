#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kvferry/paged.h"

namespace kvferry {
namespace {

using testing::HasSubstr;

constexpr std::byte kUntouched{0xee};

// An engine's memory: each layer a buffer of its own, or all in one, with the
// strides of one of several layouts.
struct Engine {
  GroupSpec group;
  PagedOptions options;
  std::vector<std::vector<std::byte>> buffers;
  std::string layout;

  uint32_t slices() const {
    return options.slice_count == 0 ? group.slice_count - options.slice_first
                                    : options.slice_count;
  }
  // The five loops of paged.h, byte by byte.
  std::byte* At(uint32_t layer, uint32_t kv, uint64_t block, uint32_t token,
                uint32_t slice, uint32_t head) const {
    const PagedLayer& l = options.layers[layer];
    const uint32_t part_tokens = group.block_tokens / options.sub_blocks;
    const auto part =
        static_cast<int64_t>(block * options.sub_blocks + token / part_tokens);
    const int64_t h =
        int64_t{slice - options.slice_first} * group.head_count + head;
    return l.base + kv * l.kv_stride + part * l.block_stride +
           (token % part_tokens) * l.token_stride + h * l.head_stride;
  }
};

uint64_t Offset(const GroupSpec& g, uint32_t layer, uint32_t kv, uint32_t token,
                uint32_t head) {
  return (((uint64_t{layer} * g.kv_count + kv) * g.block_tokens + token) *
              g.head_count +
          head) *
         g.head_bytes;
}

template <typename Function>
void ForEachHead(const Engine& e, uint64_t block, uint32_t slice,
                 uint32_t tokens, const Function& function) {
  const GroupSpec& g = e.group;
  for (uint32_t layer = 0; layer < g.layer_count; ++layer) {
    for (uint32_t kv = 0; kv < g.kv_count; ++kv) {
      for (uint32_t token = 0; token < tokens; ++token) {
        for (uint32_t head = 0; head < g.head_count; ++head) {
          function(e.At(layer, kv, block, token, slice, head),
                   Offset(g, layer, kv, token, head));
        }
      }
    }
  }
}

void Fill(std::span<std::byte> bytes, std::mt19937_64* random) {
  for (std::byte& byte : bytes) byte = static_cast<std::byte>((*random)());
}

constexpr uint64_t kBlocks = 3;

Engine MakeEngine(std::mt19937_64* random) {
  const auto below = [random](uint32_t n) {
    return static_cast<uint32_t>((*random)() % n);
  };
  Engine e;
  e.group.layer_count = 1 + below(4);
  e.group.kv_count = 1 + below(2);
  e.options.sub_blocks = 1u << below(3);
  e.group.block_tokens = e.options.sub_blocks * (1 + below(5));
  e.group.head_count = 1 + below(3);
  e.group.head_bytes = 8 * (1 + below(20));
  e.group.slice_count = 1 + below(4);
  e.options.slice_first = below(e.group.slice_count);
  e.options.slice_count =
      below(e.group.slice_count - e.options.slice_first + 1);
  e.options.block_count = kBlocks;
  const int64_t heads = int64_t{e.slices()} * e.group.head_count;
  const int64_t parts = static_cast<int64_t>(kBlocks) * e.options.sub_blocks;
  const int64_t tokens = e.group.block_tokens / e.options.sub_blocks;
  const int64_t kvs = e.group.kv_count;
  const int64_t head = e.group.head_bytes;
  PagedLayer strides;
  int64_t bytes = kvs * parts * tokens * heads * head;
  switch (below(3)) {
    case 0:  // K and V apart, tokens before heads
      e.layout = "NHD";
      strides = {nullptr, parts * tokens * heads * head, tokens * heads * head,
                 heads * head, head};
      break;
    case 1:  // heads before tokens, K and V in one block
      e.layout = "HND";
      strides = {nullptr, heads * tokens * head, kvs * heads * tokens * head,
                 head, tokens * head};
      break;
    default:  // K and V side by side in a head, with a gap behind
      e.layout = "packed";
      strides = {nullptr, head, tokens * heads * (kvs * head + 16),
                 heads * (kvs * head + 16), kvs * head + 16};
      bytes = parts * tokens * heads * (kvs * head + 16);
      break;
  }
  const bool together = below(2) == 0;
  const size_t layers = e.group.layer_count;
  for (size_t i = 0; i < (together ? 1 : layers); ++i) {
    e.buffers.emplace_back(static_cast<size_t>(bytes) *
                           (together ? layers : 1));
    Fill(e.buffers.back(), random);
  }
  // In one buffer the layers may lie in any order.
  std::vector<size_t> places(layers);
  std::iota(places.begin(), places.end(), 0);
  if (below(2) == 0) std::shuffle(places.begin(), places.end(), *random);
  for (size_t i = 0; i < layers; ++i) {
    const size_t place = places[i];
    strides.base =
        together ? e.buffers[0].data() + place * bytes : e.buffers[i].data();
    e.options.layers.push_back(strides);
  }
  return e;
}

TEST(PagedMemoryTest, CopiesWhatTheLoopsSay) {
  for (uint64_t seed = 0; seed < 400; ++seed) {
    std::mt19937_64 random(seed);
    Engine e = MakeEngine(&random);
    SCOPED_TRACE(testing::Message() << "seed " << seed << " " << e.layout);
    auto memory = PagedMemory::Create(e.group, e.options);
    ASSERT_TRUE(memory.ok()) << memory.status();
    const uint64_t block = random() % kBlocks;
    const uint32_t slice =
        e.options.slice_first + static_cast<uint32_t>(random() % e.slices());
    const uint32_t valid =
        static_cast<uint32_t>(random() % (e.group.block_tokens + 1));
    const uint32_t tokens = valid == 0 ? e.group.block_tokens : valid;

    std::vector<std::byte> page(e.group.page_bytes(), kUntouched);
    std::vector<std::byte> want = page;
    ForEachHead(e, block, slice, tokens,
                [&](const std::byte* from, uint64_t offset) {
                  std::copy_n(from, e.group.head_bytes, want.data() + offset);
                });
    ASSERT_TRUE(memory->Gather(block, slice, page, valid).ok());
    EXPECT_EQ(page, want);

    // Back, into memory of another engine with the same layout.
    Fill(page, &random);
    std::vector<std::vector<std::byte>> before = e.buffers;
    ASSERT_TRUE(memory->Scatter(block, slice, page, valid).ok());
    std::vector<std::vector<std::byte>> after = e.buffers;
    // Undo what was expected; nothing else may differ.
    e.buffers.swap(before);
    for (size_t i = 0; i < e.options.layers.size(); ++i) {
      for (size_t b = 0; b < before.size(); ++b) {
        std::byte*& base = e.options.layers[i].base;
        if (base >= before[b].data() &&
            base < before[b].data() + before[b].size()) {
          base = e.buffers[b].data() + (base - before[b].data());
          break;
        }
      }
    }
    ForEachHead(e, block, slice, tokens, [&](std::byte* to, uint64_t offset) {
      std::copy_n(page.data() + offset, e.group.head_bytes, to);
    });
    EXPECT_EQ(after, e.buffers);
  }
}

TEST(PagedMemoryTest, LayersAreAPartOfAPage) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    std::mt19937_64 random(seed);
    Engine e = MakeEngine(&random);
    SCOPED_TRACE(testing::Message() << "seed " << seed << " " << e.layout);
    auto memory = PagedMemory::Create(e.group, e.options);
    ASSERT_TRUE(memory.ok());
    const uint32_t first =
        static_cast<uint32_t>(random() % e.group.layer_count);
    const uint32_t count =
        1 + static_cast<uint32_t>(random() % (e.group.layer_count - first));
    const uint32_t slice = e.options.slice_first;
    const uint64_t layer_bytes = e.group.page_bytes() / e.group.layer_count;
    std::vector<std::byte> page(e.group.page_bytes());
    ASSERT_TRUE(memory->Gather(1, slice, page).ok());
    std::vector<std::byte> want = page;
    Fill(std::span(want).subspan(first * layer_bytes, count * layer_bytes),
         &random);
    ASSERT_TRUE(
        memory
            ->ScatterLayers(1, slice, first, count,
                            std::span(want).subspan(first * layer_bytes,
                                                    count * layer_bytes))
            .ok());
    ASSERT_TRUE(memory->Gather(1, slice, page).ok());
    EXPECT_EQ(page, want);
  }
}

class PagedMemoryErrorTest : public testing::Test {
 protected:
  PagedMemoryErrorTest() : bytes_(1 << 16) {
    group_.layer_count = 2;
    group_.head_bytes = 8;
    group_.slice_count = 2;
    options_.block_count = 4;
    options_.layers.assign(2, {bytes_.data(), 8, 256, 16, 8});
  }
  std::string CreateError() const {
    const auto memory = PagedMemory::Create(group_, options_);
    EXPECT_EQ(memory.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(memory.status().message());
  }
  std::vector<std::byte> bytes_;
  GroupSpec group_;
  PagedOptions options_;
};

TEST_F(PagedMemoryErrorTest, AMalformedDescriptionIsNamed) {
  options_.layers.pop_back();
  EXPECT_THAT(CreateError(), HasSubstr("1 layers, group \"full\" has 2"));
  options_.layers.push_back({});
  EXPECT_THAT(CreateError(), HasSubstr("layer 1 has no address"));
  options_.layers[1] = options_.layers[0];
  options_.block_count = 0;
  EXPECT_THAT(CreateError(), HasSubstr("0 blocks"));
  options_.block_count = 4;
  options_.slice_first = 1;
  options_.slice_count = 2;
  EXPECT_THAT(CreateError(), HasSubstr("slices [1, +2)"));
  options_.slice_count = 0;
  options_.sub_blocks = 3;
  EXPECT_THAT(CreateError(), HasSubstr("in 3 parts"));
  options_.sub_blocks = 1;
  group_.head_bytes = 0;
  EXPECT_THAT(CreateError(), HasSubstr("at least 1 byte"));
}

TEST_F(PagedMemoryErrorTest, WhatIsNotThereIsNamed) {
  options_.slice_first = 1;
  auto memory = PagedMemory::Create(group_, options_);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(memory->slice_first(), 1);
  EXPECT_EQ(memory->slice_end(), 2);
  std::vector<std::byte> page(group_.page_bytes());
  EXPECT_TRUE(memory->Gather(3, 1, page).ok());
  EXPECT_THAT(memory->Gather(4, 1, page).message(),
              HasSubstr("engine block 4, the memory has 4"));
  EXPECT_THAT(memory->Scatter(3, 0, page).message(),
              HasSubstr("slice 0, the memory has slices [1, +1)"));
  EXPECT_THAT(memory->Gather(3, 1, page, 17).message(),
              HasSubstr("17 valid tokens"));
  EXPECT_THAT(memory->ScatterLayers(3, 1, 1, 2, page).message(),
              HasSubstr("layers [1, +2)"));
  EXPECT_THAT(memory->ScatterLayers(3, 1, 1, 1, page).message(),
              HasSubstr("bytes for 1 layers"));
}

}  // namespace
}  // namespace kvferry
