// Gather and Scatter, byte for byte against the copies of the SDK that the
// processor does (PagedMemory).

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "kvferry/paged.h"
#include "tests/unit/gpu/device_fixture.h"
#include "tests/unit/gpu/random_engine.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::HasSubstr;

#ifdef KVFERRY_SANITIZED
constexpr uint64_t kRounds = 100;
#else
constexpr uint64_t kRounds = 400;
#endif

// One call: which pages, and which layers of them.
struct Call {
  LayerRange layers;
  std::vector<PageTransfer> pages;    // without addresses
  std::vector<uint64_t> page_places;  // of each: which page of the memory
};

// Every engine block and slice at most once, each to a page of its own, in any
// order; some are tails.
Call MakeCall(const RandomEngine& engine, std::mt19937_64* random) {
  Call call;
  const uint32_t layer_count = engine.group().layer_count;
  call.layers.first = static_cast<uint32_t>((*random)() % layer_count);
  call.layers.count = static_cast<uint32_t>(
      (*random)() % (layer_count - call.layers.first + 1));
  if ((*random)() % 2 == 0) call.layers = {};
  for (uint64_t block = 0; block < engine.block_count(); ++block) {
    for (uint32_t slice = engine.slice_first(); slice < engine.slice_end();
         ++slice) {
      if ((*random)() % 4 == 0) continue;
      PageTransfer page;
      page.engine_block = block;
      page.slice = slice;
      if ((*random)() % 3 == 0) {
        page.valid_tokens = static_cast<uint32_t>(
            (*random)() % (engine.group().block_tokens + 1));
      }
      call.pages.push_back(page);
    }
  }
  std::shuffle(call.pages.begin(), call.pages.end(), *random);
  for (uint64_t i = 0; i < call.pages.size(); ++i) {
    call.page_places.push_back(i);
  }
  std::shuffle(call.page_places.begin(), call.page_places.end(), *random);
  return call;
}

uint64_t PageCountOf(const RandomEngine& engine) {
  return engine.block_count() * (engine.slice_end() - engine.slice_first());
}

// The bytes of a call's layers within a page.
std::span<std::byte> LayersOf(const GroupSpec& group, const LayerRange& layers,
                              std::span<std::byte> page) {
  const uint64_t layer_bytes = group.page_bytes() / group.layer_count;
  const uint64_t count =
      layers.count == 0 ? group.layer_count - layers.first : layers.count;
  return page.subspan(layers.first * layer_bytes, count * layer_bytes);
}

// What Gather has to make of the pages.
void GatherOnHost(const PagedMemory& memory, const Call& call, Bytes* pages) {
  const GroupSpec& group = memory.group();
  const uint64_t page_bytes = group.page_bytes();
  for (size_t i = 0; i < call.pages.size(); ++i) {
    const std::span<std::byte> page =
        std::span(*pages).subspan(call.page_places[i] * page_bytes, page_bytes);
    Bytes whole(page.begin(), page.end());
    ASSERT_THAT(memory.Gather(call.pages[i].engine_block, call.pages[i].slice,
                              whole, call.pages[i].valid_tokens),
                IsOk());
    std::ranges::copy(LayersOf(group, call.layers, whole),
                      LayersOf(group, call.layers, page).begin());
  }
}

// What Scatter has to make of the engine's memory.
void ScatterOnHost(const PagedMemory& memory, const Call& call, Bytes* pages) {
  const GroupSpec& group = memory.group();
  const uint64_t page_bytes = group.page_bytes();
  const uint32_t layer_count = call.layers.count == 0
                                   ? group.layer_count - call.layers.first
                                   : call.layers.count;
  for (size_t i = 0; i < call.pages.size(); ++i) {
    const std::span<std::byte> page =
        std::span(*pages).subspan(call.page_places[i] * page_bytes, page_bytes);
    ASSERT_THAT(
        memory.ScatterLayers(call.pages[i].engine_block, call.pages[i].slice,
                             call.layers.first, layer_count,
                             LayersOf(group, call.layers, page),
                             call.pages[i].valid_tokens),
        IsOk());
  }
}

class DeviceTransferTest : public DeviceTest {
 protected:
  // Sets the addresses of a call's pages, in memory that begins there.
  static void Address(const GroupSpec& group, std::byte* memory, Call* call) {
    for (size_t i = 0; i < call->pages.size(); ++i) {
      call->pages[i].page = memory + call->page_places[i] * group.page_bytes();
    }
  }

  // Random engines from seeds, gathered (or scattered) by the device and by the
  // processor: both sides' memory is then the same, byte for byte.
  void CompareWithProcessor(bool gathers) {
    for (uint64_t seed = 0; seed < kRounds; ++seed) {
      std::mt19937_64 random(seed);
      const RandomEngine engine(&random);
      SCOPED_TRACE(testing::Message()
                   << "seed " << seed << ": " << engine.ToString());
      Call call = MakeCall(engine, &random);
      const GroupSpec& group = engine.group();
      Bytes engine_bytes = RandomBytes(engine.bytes(), seed);
      Bytes pages =
          RandomBytes(PageCountOf(engine) * group.page_bytes(), ~seed);
      const auto engine_memory = NewMemory(engine_bytes.size());
      // Pages are no better aligned than their sizes.
      const auto page_memory = NewMemory(pages.size() + 16);
      std::byte* const first_page = page_memory->address() + random() % 16;
      Upload(engine_bytes, engine_memory->address());
      Upload(pages, first_page);
      const auto host =
          PagedMemory::Create(group, engine.OptionsAt(engine_bytes.data()));
      ASSERT_THAT(host, IsOk());
      const auto layout =
          device_->Prepare(engine.LayoutAt(engine_memory->address()));
      ASSERT_THAT(layout, IsOk());
      Address(group, first_page, &call);

      if (gathers) {
        GatherOnHost(*host, call, &pages);
        ASSERT_THAT(device_->Gather(**layout, call.layers, call.pages,
                                    stream_->native()),
                    IsOk());
      } else {
        ScatterOnHost(*host, call, &pages);
        ASSERT_THAT(device_->Scatter(**layout, call.layers, call.pages,
                                     stream_->native()),
                    IsOk());
      }
      ASSERT_THAT(Finish(stream_->native()), IsOk());
      ASSERT_EQ(Download(first_page, pages.size()), pages);
      ASSERT_EQ(Download(engine_memory->address(), engine_bytes.size()),
                engine_bytes);
    }
  }

  // An engine of two blocks of 4 tokens, for calls that are refused.
  struct Small {
    std::unique_ptr<DeviceMemory> engine;
    std::unique_ptr<DeviceMemory> page;
    std::unique_ptr<PreparedLayout> layout;
  };
  Small MakeSmall() {
    Small small;
    EngineLayout layout;
    layout.group.block_tokens = 4;
    layout.group.head_bytes = 16;
    layout.group.layer_count = 2;
    layout.group.slice_count = 2;
    layout.block_count = 2;
    layout.slice_count = 1;
    const auto block = static_cast<int64_t>(layout.group.token_bytes() * 4);
    small.engine = NewMemory(8 * block);
    for (uint32_t i = 0; i < 2; ++i) {
      layout.layers.push_back(
          {small.engine->address() + 4 * i * block, 2 * block, block, 16, 16});
    }
    small.page = NewMemory(layout.group.page_bytes());
    auto prepared = device_->Prepare(layout);
    KVFERRY_CHECK(prepared.ok());
    small.layout = *std::move(prepared);
    return small;
  }
};

// Goal: Gather makes of pages in device memory what the processor makes of
//       pages in its own, for any engine, and touches no other byte.
// Method: engines from seeds; the same bytes on both sides, compared whole.
TEST_F(DeviceTransferTest, GathersAsTheProcessorDoes) {
  CompareWithProcessor(/*gathers=*/true);
}

// Goal: the same for Scatter: of the engine's memory exactly the bytes of these
//       blocks, slices, tokens and layers change.
// Method: as above, with the sides changed.
TEST_F(DeviceTransferTest, ScattersAsTheProcessorDoes) {
  CompareWithProcessor(/*gathers=*/false);
}

// Goal: pages in registered host memory are gathered to and scattered from like
//       pages of the device.
// Method: as above, the device's engine scattered back to zeroed memory.
TEST_F(DeviceTransferTest, WorksOnPagesInRegisteredHostMemory) {
  for (uint64_t seed = 0; seed < kRounds / 4; ++seed) {
    std::mt19937_64 random(seed);
    const RandomEngine engine(&random);
    SCOPED_TRACE(testing::Message()
                 << "seed " << seed << ": " << engine.ToString());
    Call call = MakeCall(engine, &random);
    const GroupSpec& group = engine.group();
    Bytes engine_bytes = RandomBytes(engine.bytes(), seed);
    Bytes expected =
        RandomBytes(PageCountOf(engine) * group.page_bytes(), ~seed);
    Bytes pages = expected;
    const auto registration =
        device_->RegisterHost(pages.data(), pages.size(), false);
    ASSERT_THAT(registration, IsOk());
    const auto engine_memory = NewMemory(engine_bytes.size());
    Upload(engine_bytes, engine_memory->address());
    const auto host =
        PagedMemory::Create(group, engine.OptionsAt(engine_bytes.data()));
    ASSERT_THAT(host, IsOk());
    GatherOnHost(*host, call, &expected);

    const auto layout =
        device_->Prepare(engine.LayoutAt(engine_memory->address()));
    ASSERT_THAT(layout, IsOk());
    Address(group, (*registration)->device_address(), &call);
    ASSERT_THAT(
        device_->Gather(**layout, call.layers, call.pages, stream_->native()),
        IsOk());
    ASSERT_THAT(Finish(stream_->native()), IsOk());
    ASSERT_EQ(pages, expected);

    Upload(Bytes(engine_bytes.size()), engine_memory->address());
    std::ranges::fill(engine_bytes, std::byte{0});
    ScatterOnHost(*host, call, &expected);
    ASSERT_THAT(
        device_->Scatter(**layout, call.layers, call.pages, stream_->native()),
        IsOk());
    ASSERT_THAT(Finish(stream_->native()), IsOk());
    ASSERT_EQ(Download(engine_memory->address(), engine_bytes.size()),
              engine_bytes);
  }
}

// Goal: pages in registered read-only host memory can be scattered from.
// Method: one small engine; on a device without it, the refusal is all there
//         is.
TEST_F(DeviceTransferTest, ScattersFromHostMemoryRegisteredForReading) {
  const Small small = MakeSmall();
  Bytes page = RandomBytes(small.page->bytes(), 1);
  const auto registration =
      device_->RegisterHost(page.data(), page.size(), true);
  if (!device_->report().Has(kCapabilityReadOnlyHost)) {
    EXPECT_THAT(registration, StatusIs(absl::StatusCode::kUnimplemented));
    return;
  }
  ASSERT_THAT(registration, IsOk());
  const PageTransfer scatter{1, (*registration)->device_address(), 0, 0};
  ASSERT_THAT(
      device_->Scatter(*small.layout, {}, {&scatter, 1}, stream_->native()),
      IsOk());
  // Back by the way of device memory.
  const PageTransfer gather{1, small.page->address(), 0, 0};
  ASSERT_THAT(
      device_->Gather(*small.layout, {}, {&gather, 1}, stream_->native()),
      IsOk());
  ASSERT_THAT(Finish(stream_->native()), IsOk());
  EXPECT_EQ(Download(small.page->address(), page.size()), page);
}

// Goal: the list of pages is the caller's again when the call returns.
// Method: it is overwritten with nonsense at once.
TEST_F(DeviceTransferTest, CopiesTheListOfPages) {
  const Small small = MakeSmall();
  const Bytes bytes = RandomBytes(small.engine->bytes(), 2);
  Upload(bytes, small.engine->address());
  std::vector<PageTransfer> pages = {{1, small.page->address(), 0, 0}};
  ASSERT_THAT(device_->Gather(*small.layout, {}, pages, stream_->native()),
              IsOk());
  pages[0] = {~uint64_t{0}, nullptr, 99, 99};
  ASSERT_THAT(Finish(stream_->native()), IsOk());
  const Bytes page = Download(small.page->address(), small.page->bytes());
  // Layer 0, K, of block 1 comes first.
  EXPECT_TRUE(std::equal(page.begin(), page.begin() + 64, bytes.begin() + 64));
}

TEST_F(DeviceTransferTest, DoesNothingForNoPages) {
  const Small small = MakeSmall();
  EXPECT_THAT(device_->Gather(*small.layout, {}, {}, stream_->native()),
              IsOk());
  EXPECT_THAT(device_->Scatter(*small.layout, {}, {}, stream_->native()),
              IsOk());
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

// Goal: what is not there is refused, both ways, and named.
// Method: one wrong thing at a time, behind a page that is right.
TEST_F(DeviceTransferTest, RefusesWhatIsNotThere) {
  const Small small = MakeSmall();
  std::byte* const page = small.page->address();
  struct Case {
    LayerRange layers;
    PageTransfer page;
    const char* says;
  };
  const Case cases[] = {
      {{}, {2, page, 0, 0}, "engine block 2"},
      {{}, {0, page, 1, 0}, "slice 1"},
      {{}, {0, nullptr, 0, 0}, "null"},
      {{}, {0, page, 0, 5}, "5 valid tokens"},
      {{2, 0}, {0, page, 0, 0}, "layers [2, +0)"},
      {{1, 2}, {0, page, 0, 0}, "layers [1, +2)"},
      {{0, UINT32_MAX}, {0, page, 0, 0}, "layers [0, "},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.says);
    const PageTransfer pages[] = {{0, page, 0, 0}, wrong.page};
    EXPECT_THAT(
        device_->Gather(*small.layout, wrong.layers, pages, stream_->native()),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(wrong.says)));
    EXPECT_THAT(
        device_->Scatter(*small.layout, wrong.layers, pages, stream_->native()),
        StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(wrong.says)));
  }
  EXPECT_THAT(Finish(stream_->native()), IsOk());
}

TEST_F(DeviceTransferTest, RefusesToPrepareAWrongLayout) {
  EngineLayout layout = MakeSmall().layout->layout();
  layout.block_count = 0;
  EXPECT_THAT(device_->Prepare(layout),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("0 blo")));
}

}  // namespace
}  // namespace kvferry::gpu
