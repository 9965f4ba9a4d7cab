#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "kvferry/copy.h"

namespace kvferry {
namespace {

using testing::HasSubstr;

constexpr std::byte kUntouched{0xee};

// Memory aligned as pages and engines' tensors are: what decides how runs are
// stored must not depend on the allocator.
template <typename T>
struct PageAligned {
  using value_type = T;
  PageAligned() = default;
  template <typename U>
  explicit PageAligned(const PageAligned<U>&) {}
  T* allocate(size_t count) {
    return static_cast<T*>(
        ::operator new (count * sizeof(T), std::align_val_t{4096}));
  }
  void deallocate(T* memory, size_t) {
    ::operator delete (memory, std::align_val_t{4096});
  }
  friend bool operator==(const PageAligned&, const PageAligned&) {
    return true;
  }
};
using Bytes = std::vector<std::byte, PageAligned<std::byte>>;

// An engine's memory and the page of one of its blocks, with the bytes of both
// computed by the five loops of copy.h.
struct Case {
  GroupSpec group;
  PagedTensor tensor;  // base points into `memory`
  uint64_t blocks = 1;
  Bytes memory;
  std::string name;
};

template <typename Function>
void ForEachByte(const Case& c, uint64_t block, uint32_t tokens,
                 const Function& function) {
  const GroupSpec& g = c.group;
  for (uint32_t layer = 0; layer < g.layer_count; ++layer) {
    for (uint32_t kv = 0; kv < g.kv_count; ++kv) {
      for (uint32_t token = 0; token < tokens; ++token) {
        for (uint32_t head = 0; head < g.head_count; ++head) {
          for (uint32_t byte = 0; byte < g.head_bytes; ++byte) {
            std::byte* const address =
                c.tensor.base + layer * c.tensor.layer_stride +
                kv * c.tensor.kv_stride +
                static_cast<int64_t>(block) * c.tensor.block_stride +
                token * c.tensor.token_stride + head * c.tensor.head_stride +
                byte;
            const uint64_t offset =
                (((uint64_t{layer} * g.kv_count + kv) * g.block_tokens +
                  token) *
                     g.head_count +
                 head) *
                    g.head_bytes +
                byte;
            function(address, offset);
          }
        }
      }
    }
  }
}

void Fill(Bytes* bytes, std::mt19937_64* random) {
  for (std::byte& byte : *bytes) byte = static_cast<std::byte>((*random)());
}

// Lays the five dimensions out in `order` (outermost first; L, K, B, T, H),
// with `gap(i)` unused bytes after each item of the i-th from the inside.
Case MakeCase(const GroupSpec& group, uint64_t blocks, const std::string& order,
              const std::vector<int64_t>& gaps, bool reversed,
              std::mt19937_64* random) {
  Case c;
  c.group = group;
  c.blocks = blocks;
  c.name = order;
  int64_t size = group.head_bytes;
  int64_t before_base = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    int64_t count = 0;
    int64_t* stride = nullptr;
    switch (order[order.size() - 1 - i]) {
      case 'L':
        count = group.layer_count;
        stride = &c.tensor.layer_stride;
        break;
      case 'K':
        count = group.kv_count;
        stride = &c.tensor.kv_stride;
        break;
      case 'B':
        count = static_cast<int64_t>(blocks);
        stride = &c.tensor.block_stride;
        break;
      case 'T':
        count = group.block_tokens;
        stride = &c.tensor.token_stride;
        break;
      default:
        count = group.head_count;
        stride = &c.tensor.head_stride;
        break;
    }
    *stride = size + gaps[i];
    size = *stride * count;
    if (reversed && i + 1 == order.size()) {
      before_base = *stride * (count - 1);
      *stride = -*stride;
    }
  }
  c.memory.resize(static_cast<size_t>(size));
  c.tensor.base = c.memory.data() + before_base;
  Fill(&c.memory, random);
  return c;
}

void ExpectGathers(Case& c, uint64_t block, uint32_t valid_tokens) {
  const uint32_t tokens =
      valid_tokens == 0 ? c.group.block_tokens : valid_tokens;
  Bytes want(c.group.page_bytes(), kUntouched);
  ForEachByte(c, block, tokens, [&](const std::byte* address, uint64_t offset) {
    want[offset] = *address;
  });
  Bytes page(c.group.page_bytes(), kUntouched);
  const Bytes memory_before = c.memory;

  const absl::Status status =
      GatherPage(c.group, c.tensor, block, page, valid_tokens);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(page == want) << c.name;
  EXPECT_TRUE(c.memory == memory_before) << c.name;
}

void ExpectScatters(Case& c, uint64_t block, uint32_t valid_tokens,
                    std::mt19937_64* random) {
  const uint32_t tokens =
      valid_tokens == 0 ? c.group.block_tokens : valid_tokens;
  Bytes page(c.group.page_bytes());
  Fill(&page, random);
  const Bytes before = c.memory;
  ForEachByte(c, block, tokens, [&](std::byte* address, uint64_t offset) {
    *address = page[offset];
  });
  const Bytes want = c.memory;
  std::copy(before.begin(), before.end(), c.memory.begin());

  const absl::Status status =
      ScatterPage(c.group, page, c.tensor, block, valid_tokens);

  ASSERT_TRUE(status.ok()) << status;
  EXPECT_TRUE(c.memory == want) << c.name;
}

void ExpectBothWays(Case c, std::mt19937_64* random) {
  for (const uint64_t block : {uint64_t{0}, c.blocks - 1}) {
    for (const uint32_t valid :
         {uint32_t{0}, uint32_t{1}, c.group.block_tokens}) {
      ExpectGathers(c, block, valid);
      ExpectScatters(c, block, valid, random);
    }
  }
}

GroupSpec Group(uint32_t layers, uint32_t kvs, uint32_t tokens, uint32_t heads,
                uint32_t head_bytes) {
  GroupSpec group;
  group.layer_count = layers;
  group.kv_count = kvs;
  group.block_tokens = tokens;
  group.head_count = heads;
  group.head_bytes = head_bytes;
  return group;
}

// The layouts engines use, by the order of their dimensions.
class EngineLayoutTest : public testing::TestWithParam<const char*> {};

TEST_P(EngineLayoutTest, GathersAndScattersWithoutGaps) {
  std::mt19937_64 random(1);
  const GroupSpec group = Group(3, 2, 16, 4, 64);
  ExpectBothWays(
      MakeCase(group, 5, GetParam(), {0, 0, 0, 0, 0}, false, &random), &random);
}

TEST_P(EngineLayoutTest, GathersAndScattersWithGapsAtEveryLevel) {
  const GroupSpec group = Group(3, 2, 16, 4, 64);
  for (size_t level = 0; level < 5; ++level) {
    std::mt19937_64 random(level);
    std::vector<int64_t> gaps(5, 0);
    gaps[level] = 24;
    ExpectBothWays(MakeCase(group, 3, GetParam(), gaps, false, &random),
                   &random);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Orders, EngineLayoutTest,
    testing::Values("LKBTH",   // K and V apart, tokens of whole heads (NHD)
                    "LKBHT",   // the same, a head's tokens together (HND)
                    "LBKTH",   // K and V of a block together
                    "LBTKH",   // packed: K and V inside a token
                    "BLKTH",   // a block of all layers: one copy
                    "BLTKH",   // such a block, packed
                    "KLBHT"),  // layers under K and V
    [](const testing::TestParamInfo<const char*>& param) {
      return std::string(param.param);
    });

TEST(PagedCopyTest, LargePagesGoTheSameWay) {
  // Runs beyond the size from which copies bypass the caches.
  std::mt19937_64 random(1);
  const GroupSpec group = Group(2, 2, 64, 8, 256);
  for (const char* const order : {"BLKTH", "LKBTH", "LBTKH", "LKBHT"}) {
    SCOPED_TRACE(order);
    ExpectBothWays(MakeCase(group, 2, order, {0, 0, 0, 0, 0}, false, &random),
                   &random);
    // Runs of whole lines at odd addresses, and with whole lines between.
    ExpectBothWays(MakeCase(group, 2, order, {0, 8, 0, 0, 0}, false, &random),
                   &random);
    ExpectBothWays(MakeCase(group, 2, order, {64, 0, 128, 0, 0}, true, &random),
                   &random);
  }
}

TEST(PagedCopyTest, LargePagesOfOddRunsGoTheSameWay) {
  // 48 KiB in runs that no whole line fits, or that end within one.
  std::mt19937_64 random(2);
  for (const uint32_t head_bytes :
       {uint32_t{48}, uint32_t{96}, uint32_t{328}}) {
    SCOPED_TRACE(head_bytes);
    const GroupSpec group = Group(4, 2, 32, 8, head_bytes);
    for (const char* const order : {"LKBTH", "LKBHT"}) {
      ExpectBothWays(MakeCase(group, 2, order, {0, 0, 0, 0, 0}, false, &random),
                     &random);
    }
  }
}

TEST(PagedCopyTest, RandomLayoutsEqualTheFiveLoops) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937_64 random(seed);
    const auto pick = [&](uint32_t low, uint32_t high) {
      return low + static_cast<uint32_t>(random() % (high - low + 1));
    };
    constexpr uint32_t kHeadBytes[] = {1, 3, 16, 64, 100, 128, 256};
    const GroupSpec group = Group(pick(1, 4), pick(1, 2), pick(1, 17),
                                  pick(1, 5), kHeadBytes[pick(0, 6)]);
    std::string order = "LKBTH";
    std::shuffle(order.begin(), order.end(), random);
    std::vector<int64_t> gaps(5, 0);
    for (int64_t& gap : gaps) {
      if (random() % 3 == 0) gap = pick(1, 70);
    }
    Case c =
        MakeCase(group, pick(1, 4), order, gaps, random() % 4 == 0, &random);
    const uint64_t block = random() % c.blocks;
    const uint32_t valid = pick(0, group.block_tokens);

    ExpectGathers(c, block, valid);
    ExpectScatters(c, block, valid, &random);

    if (testing::Test::HasFailure()) break;
  }
}

TEST(PagedCopyTest, AScatteredPageGathersBack) {
  std::mt19937_64 random(5);
  const GroupSpec group = Group(2, 2, 16, 2, 128);
  Case c = MakeCase(group, 4, "LKBHT", {0, 0, 0, 0, 0}, false, &random);
  Bytes page(group.page_bytes());
  Fill(&page, &random);

  ASSERT_TRUE(ScatterPage(group, page, c.tensor, 2).ok());
  Bytes back(group.page_bytes());
  ASSERT_TRUE(GatherPage(group, c.tensor, 2, back).ok());

  EXPECT_TRUE(back == page);
}

// --- layers --------------------------------------------------------------

// Goal    A page copied in parts by layers is the page copied at once.
// Method  Every layout of the five dimensions, cut at every layer.
TEST(PagedCopyTest, LayersInPartsAreTheWholePage) {
  std::mt19937_64 random(6);
  const GroupSpec group = Group(5, 2, 4, 2, 64);
  const size_t layer_bytes = group.page_bytes() / group.layer_count;
  for (const std::string order : {"LKBHT", "BLKTH", "KTLHB", "HBKLT"}) {
    for (const bool reversed : {false, true}) {
      for (uint32_t cut = 1; cut < group.layer_count; ++cut) {
        for (const uint32_t valid : {0u, 3u}) {
          Case c =
              MakeCase(group, 3, order, {0, 8, 0, 64, 0}, reversed, &random);
          const uint32_t rest = group.layer_count - cut;
          Bytes page(group.page_bytes());
          Fill(&page, &random);
          const Bytes before = c.memory;
          ASSERT_TRUE(ScatterPage(group, page, c.tensor, 1, valid).ok());
          const Bytes want = c.memory;
          std::copy(before.begin(), before.end(), c.memory.begin());

          const std::span<std::byte> low(page.data(), cut * layer_bytes);
          const std::span<std::byte> high(low.data() + low.size(),
                                          rest * layer_bytes);
          ASSERT_TRUE(
              ScatterLayers(group, low, 0, cut, c.tensor, 1, valid).ok());
          ASSERT_TRUE(
              ScatterLayers(group, high, cut, rest, c.tensor, 1, valid).ok());
          EXPECT_TRUE(c.memory == want) << order << " cut at " << cut;

          Bytes whole(group.page_bytes(), kUntouched);
          ASSERT_TRUE(GatherPage(group, c.tensor, 1, whole, valid).ok());
          std::fill(page.begin(), page.end(), kUntouched);
          ASSERT_TRUE(
              GatherLayers(group, c.tensor, 1, cut, rest, high, valid).ok());
          ASSERT_TRUE(
              GatherLayers(group, c.tensor, 1, 0, cut, low, valid).ok());
          EXPECT_TRUE(page == whole) << order << " cut at " << cut;
        }
      }
    }
  }
}

class PagedCopyRefusalTest : public testing::Test {
 protected:
  // Expects the same refusal both ways, and nothing written.
  void ExpectRefused(const std::string& reason) {
    Bytes page(page_bytes_, kUntouched);
    const Bytes page_before = page;
    const Bytes memory_before = memory_;
    for (const absl::Status& status :
         {GatherPage(group_, tensor_, 0, page, valid_tokens_),
          ScatterPage(group_, page, tensor_, 0, valid_tokens_)}) {
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
      EXPECT_THAT(std::string(status.message()), HasSubstr(reason));
    }
    EXPECT_TRUE(page == page_before);
    EXPECT_TRUE(memory_ == memory_before);
  }

  GroupSpec group_ = Group(1, 2, 16, 1, 8);
  Bytes memory_ = Bytes(256);
  PagedTensor tensor_{.base = memory_.data(),
                      .layer_stride = 256,
                      .kv_stride = 128,
                      .block_stride = 256,
                      .token_stride = 8,
                      .head_stride = 8};
  size_t page_bytes_ = 256;
  uint32_t valid_tokens_ = 0;
};

TEST_F(PagedCopyRefusalTest, PagesOfAnotherSize) {
  page_bytes_ = 255;
  ExpectRefused("a page of 255 bytes, group \"full\" has pages of 256");
  page_bytes_ = 257;
  ExpectRefused("257");
  page_bytes_ = 0;
  ExpectRefused("0 bytes");
}

TEST_F(PagedCopyRefusalTest, MoreValidTokensThanABlockHas) {
  valid_tokens_ = 17;
  ExpectRefused("17 valid tokens, a block of group \"full\" has 16");
}

TEST_F(PagedCopyRefusalTest, ATensorWithoutAddress) {
  tensor_.base = nullptr;
  ExpectRefused("the tensor has no address");
}

TEST_F(PagedCopyRefusalTest, AGroupWithoutBytes) {
  group_.layer_count = 0;
  page_bytes_ = 0;
  ExpectRefused("0 layers");
}

TEST_F(PagedCopyRefusalTest, AGroupWhoseSizeWrapsAround) {
  // 2^16 x 2^16 x 2^16 x 2^16 bytes and 2 tensors are 0 modulo 2^64.
  group_ = Group(1 << 16, 2, 1 << 16, 1 << 16, 1 << 16);
  ASSERT_EQ(group_.page_bytes(), 0u);
  page_bytes_ = 0;
  ExpectRefused("less than 2^64");
}

TEST_F(PagedCopyRefusalTest, LayersBeyondTheGroupOrOfAnotherSize) {
  group_ = Group(2, 2, 16, 1, 8);
  tensor_.layer_stride = 128;
  Bytes bytes(512, kUntouched);
  const auto refused = [&](uint32_t layer, uint32_t layers, size_t size) {
    const absl::Status gathered =
        GatherLayers(group_, tensor_, 0, layer, layers,
                     std::span<std::byte>(bytes.data(), size));
    const absl::Status scattered =
        ScatterLayers(group_, std::span<std::byte>(bytes.data(), size), layer,
                      layers, tensor_, 0);
    EXPECT_EQ(gathered.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(scattered, gathered);
    return std::string(gathered.message());
  };
  const Bytes memory_before = memory_;

  EXPECT_THAT(refused(2, 1, 256), HasSubstr("layers [2, +1), group \"full\""));
  EXPECT_THAT(refused(1, 2, 512), HasSubstr("layers [1, +2)"));
  EXPECT_THAT(refused(1, 0xffff'ffff, 256), HasSubstr("layers [1, +42949"));
  EXPECT_THAT(refused(0, 0, 0), HasSubstr("layers [0, +0)"));
  EXPECT_THAT(
      refused(0, 1, 255),
      HasSubstr("255 bytes of 1 layers, group \"full\" has 256 a layer"));

  EXPECT_TRUE(memory_ == memory_before);
  EXPECT_TRUE(bytes == Bytes(512, kUntouched));
}

}  // namespace
}  // namespace kvferry
