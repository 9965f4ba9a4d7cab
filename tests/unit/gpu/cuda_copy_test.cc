// The copy kernel's arithmetic, on the processor: every thread of a launch is
// run in turn, with the same lines that the kernel is compiled from
// (gpu/cuda/strided_copy_params.h). Needs neither a GPU nor the toolkit.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "gpu/cuda/copy_batch.h"
#include "gpu/cuda/fast_divisor.h"
#include "gpu/cuda/strided_copy_params.h"
#include "gpu/cuda/strided_copy_plan.h"
#include "gpu/transfer_plan.h"
#include "kvferry/paged.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/gpu/random_engine.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::StatusIs;

using Bytes = std::vector<std::byte>;

Bytes RandomBytes(uint64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  Bytes bytes(count);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// Bytes that begin at an address that 64 divides, as device memory does.
class AlignedBytes {
 public:
  AlignedBytes(uint64_t count, uint64_t seed)
      : room_(RandomBytes(count + 64, seed)), count_(count) {}
  std::byte* data() {
    const auto address = reinterpret_cast<uintptr_t>(room_.data());
    return room_.data() + (64 - address % 64) % 64;
  }
  Bytes Contents() { return Bytes(data(), data() + count_); }
  // Gives it other contents.
  void Set(const Bytes& bytes) { std::ranges::copy(bytes, data()); }

 private:
  Bytes room_;
  uint64_t count_;
};

// A vector register.
template <size_t kBytes>
struct HostVector {
  std::byte bytes[kBytes];
};

// Loads and stores of the processor, which the device would refuse when they
// are not aligned.
struct HostAccess {
  template <typename Vector, bool kToPage>
  static Vector Load(const std::byte* address) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(address) % sizeof(Vector), 0u);
    Vector vector;
    std::memcpy(&vector, address, sizeof(vector));
    return vector;
  }
  template <typename Vector, bool kToPage>
  static void Store(std::byte* address, const Vector& vector) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(address) % sizeof(Vector), 0u);
    std::memcpy(address, &vector, sizeof(vector));
    stored_bytes += sizeof(vector);
  }
  static inline uint64_t stored_bytes = 0;
};

template <size_t kWidth, bool kToPage>
void RunWide(const StridedCopyParams& params) {
  for (uint32_t chunk = 0; chunk < params.chunks; ++chunk) {
    for (uint32_t thread = 0; thread < kCopyThreads; ++thread) {
      CopyChunk<HostVector<kWidth>, kToPage, HostAccess>(params, chunk, thread);
    }
  }
}

template <bool kToPage>
void Run(const StridedCopyParams& params) {
  switch (params.width) {
    case 16:
      return RunWide<16, kToPage>(params);
    case 8:
      return RunWide<8, kToPage>(params);
    case 4:
      return RunWide<4, kToPage>(params);
    case 2:
      return RunWide<2, kToPage>(params);
    default:
      return RunWide<1, kToPage>(params);
  }
}

// A call as CudaDevice makes it, with the launches that the device's copier
// makes. Adds the widths of its launches to `widths`.
void Transfer(const EngineLayout& layout, LayerRange layers,
              std::span<const PageTransfer> pages, bool to_page, bool by_table,
              std::vector<uint32_t>* widths) {
  const auto planner = TransferPlanner::Create(layout);
  ASSERT_THAT(planner, IsOk());
  const auto plan = planner->Plan(layers, pages);
  ASSERT_THAT(plan, IsOk());
  HostAccess::stored_bytes = 0;
  for (const TransferLaunch& launch : plan->launches) {
    ASSERT_LE(launch.pieces.size(), kInlinePieces);
    StridedCopyParams params;
    params.bases = &planner->bases()[launch.first_base];
    params.table = by_table ? launch.pieces.data() : nullptr;
    ASSERT_THAT(DescribeCopy(launch.shape, planner->bases()[launch.first_base],
                             launch.pieces, &params),
                IsOk());
    if (!by_table) std::ranges::copy(launch.pieces, params.inline_pieces);
    widths->push_back(params.width);
    to_page ? Run<true>(params) : Run<false>(params);
  }
  // Each byte once: as many as there are, and (by the callers) all of them.
  EXPECT_EQ(HostAccess::stored_bytes, plan->bytes);
}

// All slices of all blocks, the last one a tail.
std::vector<PageTransfer> AllPages(const EngineLayout& layout,
                                   std::byte* memory) {
  std::vector<PageTransfer> pages;
  for (uint64_t block = 0; block < layout.block_count; ++block) {
    for (uint32_t i = 0; i < layout.slice_count; ++i) {
      PageTransfer page;
      page.engine_block = block;
      page.slice = layout.slice_first + i;
      page.page = memory + pages.size() * layout.group.page_bytes();
      pages.push_back(page);
    }
  }
  pages.back().valid_tokens = (layout.group.block_tokens + 1) / 2;
  return pages;
}

PagedMemory OnHost(const EngineLayout& layout) {
  PagedOptions options;
  options.layers = layout.layers;
  options.block_count = layout.block_count;
  options.slice_first = layout.slice_first;
  options.slice_count = layout.slice_count;
  options.sub_blocks = layout.sub_blocks;
  return *PagedMemory::Create(layout.group, options);
}

// Gathers and scatters by the kernel and by the processor's own copies, from
// and to the same bytes, and compares everything around them, too.
void CompareWithProcessor(const EngineLayout& layout, AlignedBytes* engine,
                          uint64_t page_shift, bool by_table, uint64_t seed,
                          std::vector<uint32_t>* widths) {
  const PagedMemory host = OnHost(layout);
  const uint64_t page_bytes = layout.group.page_bytes();
  const uint64_t bytes = layout.block_count * layout.slice_count * page_bytes;
  const Bytes engine_before = engine->Contents();
  AlignedBytes memory(bytes + page_shift, seed);
  const Bytes memory_before = memory.Contents();
  const std::vector<PageTransfer> pages =
      AllPages(layout, memory.data() + page_shift);

  Transfer(layout, {}, pages, /*to_page=*/true, by_table, widths);
  const Bytes gathered = memory.Contents();
  memory.Set(memory_before);
  for (const PageTransfer& page : pages) {
    ASSERT_THAT(host.Gather(page.engine_block, page.slice,
                            {page.page, page_bytes}, page.valid_tokens),
                IsOk());
  }
  EXPECT_EQ(gathered, memory.Contents());
  EXPECT_EQ(engine->Contents(), engine_before);

  memory.Set(RandomBytes(bytes + page_shift, ~seed));
  Transfer(layout, {}, pages, /*to_page=*/false, by_table, widths);
  const Bytes scattered = engine->Contents();
  engine->Set(engine_before);
  for (const PageTransfer& page : pages) {
    ASSERT_THAT(host.Scatter(page.engine_block, page.slice,
                             {page.page, page_bytes}, page.valid_tokens),
                IsOk());
  }
  EXPECT_EQ(scattered, engine->Contents());
}

// Goal: the kernel copies what PagedMemory does, for any layout, through either
//       way that pieces are passed, and touches no other byte.
// Method: engines from seeds; pages at odd addresses in every other round.
TEST(CudaCopyTest, CopiesAnyEngineAsTheProcessorDoes) {
  std::vector<uint32_t> widths;
  for (uint64_t seed = 0; seed < 150; ++seed) {
    std::mt19937_64 random(seed);
    const RandomEngine engine(&random);
    SCOPED_TRACE(testing::Message()
                 << "seed " << seed << ": " << engine.ToString());
    AlignedBytes memory(engine.bytes(), seed);
    EngineLayout layout = engine.LayoutAt(memory.data());
    layout.slice_count = engine.slice_end() - engine.slice_first();
    if (layout.block_count * layout.slice_count > kInlinePieces) continue;
    CompareWithProcessor(layout, &memory, seed % 2 == 0 ? 0 : random() % 16,
                         /*by_table=*/seed % 3 == 0, seed, &widths);
    if (HasFatalFailure()) return;
  }
  // The seeds reach the narrowest vectors and others.
  EXPECT_THAT(widths, testing::Contains(1));
  EXPECT_THAT(widths, testing::Contains(testing::Gt(1)));
}

// An engine of layers that lie one behind the other with `gap` bytes between,
// growing: by `gap_step` from one to the next.
EngineLayout DenseEngine(const GroupSpec& group, uint64_t blocks, bool hnd,
                         uint64_t gap, uint64_t gap_step, uint64_t* bytes) {
  EngineLayout layout;
  layout.group = group;
  layout.block_count = blocks;
  layout.slice_count = group.slice_count;
  const int64_t heads = int64_t{group.head_count} * group.slice_count;
  const int64_t fragment = heads * group.head_bytes * group.block_tokens;
  uint64_t offset = 0;
  for (uint32_t i = 0; i < group.layer_count; ++i) {
    PagedLayer layer;
    layer.base = reinterpret_cast<std::byte*>(offset);
    layer.kv_stride = fragment * static_cast<int64_t>(blocks);
    layer.block_stride = fragment;
    layer.token_stride =
        hnd ? group.head_bytes : heads * int64_t{group.head_bytes};
    layer.head_stride =
        hnd ? int64_t{group.head_bytes} * group.block_tokens : group.head_bytes;
    layout.layers.push_back(layer);
    offset += static_cast<uint64_t>(fragment) * blocks * group.kv_count + gap +
              gap_step * i;
  }
  *bytes = offset;
  return layout;
}

// What engines have: the attention kernels' layouts, and MLA's.
struct EngineCase {
  const char* name;
  GroupSpec group;
  bool hnd;
  uint64_t gap;
  uint64_t gap_step;
};

std::vector<EngineCase> EngineCases() {
  GroupSpec grouped;  // K and V of 8 heads of 128 fp16, of two ranks
  grouped.block_tokens = 16;
  grouped.layer_count = 3;
  grouped.head_count = 4;
  grouped.head_bytes = 256;
  grouped.slice_count = 2;
  GroupSpec latent;  // 512 + 64 of bf16
  latent.block_tokens = 64;
  latent.layer_count = 3;
  latent.kv_count = 1;
  latent.head_bytes = 1152;
  return {{"NHD", grouped, false, 4096, 0},
          {"HND", grouped, true, 4096, 0},
          {"NHD, layers anywhere", grouped, false, 4096, 512},
          {"HND, layers anywhere", grouped, true, 4096, 512},
          {"MLA", latent, false, 0, 0},
          {"MLA, layers anywhere", latent, false, 256, 256}};
}

// Goal: layouts of real engines are copied at full width, and right.
TEST(CudaCopyTest, CopiesRealLayoutsSixteenBytesAtATime) {
  for (const EngineCase& engine : EngineCases()) {
    SCOPED_TRACE(engine.name);
    uint64_t bytes = 0;
    EngineLayout layout = DenseEngine(engine.group, 3, engine.hnd, engine.gap,
                                      engine.gap_step, &bytes);
    AlignedBytes memory(bytes, 1);
    for (PagedLayer& layer : layout.layers) {
      layer.base = memory.data() + reinterpret_cast<uintptr_t>(layer.base);
    }
    std::vector<uint32_t> widths;
    CompareWithProcessor(layout, &memory, 0, /*by_table=*/false, 2, &widths);
    if (HasFatalFailure()) return;
    EXPECT_THAT(widths, testing::Each(16));
  }
}

// Goal: the pages' addresses narrow the vectors, one bad page among many too.
TEST(CudaCopyTest, VectorsAreNoWiderThanThePagesAllow) {
  TransferShape shape{};
  shape.run_bytes = 4096;
  shape.runs = 1;
  shape.base_count = 1;
  shape.alignment = 16;
  StridedCopyParams params;
  for (const uint32_t odd : {1, 2, 4, 8, 16}) {
    std::vector<TransferPiece> pieces = {
        {0, reinterpret_cast<std::byte*>(0x10000)},
        {0, reinterpret_cast<std::byte*>(uintptr_t{0x20000} + odd)},
        {0, reinterpret_cast<std::byte*>(0x30000)}};

    ASSERT_THAT(DescribeCopy(shape, 0x1000, pieces, &params), IsOk());

    EXPECT_EQ(params.width, odd);
    EXPECT_EQ(params.piece_vectors, 4096 / odd);
    EXPECT_EQ(params.chunks, 3 * ((4096 / odd + 1023) / 1024));
  }
}

// Goal: numbers of vectors and chunks never leave what 32 bits divide.
TEST(CudaCopyTest, RefusesWhatItCannotCount) {
  TransferShape shape{};
  shape.run_bytes = uint64_t{1} << 31;
  shape.runs = 1;
  shape.base_count = 1;
  shape.alignment = 1;
  const TransferPiece piece = {0, reinterpret_cast<std::byte*>(0x10000)};
  StridedCopyParams params;
  EXPECT_THAT(DescribeCopy(shape, 0, {&piece, 1}, &params),
              StatusIs(absl::StatusCode::kInvalidArgument));
  shape.run_bytes -= 1;
  EXPECT_THAT(DescribeCopy(shape, 0, {&piece, 1}, &params), IsOk());
  EXPECT_EQ(PiecesPerLaunch(shape), 1023u);

  const std::vector<TransferPiece> most(1023, piece);
  EXPECT_THAT(DescribeCopy(shape, 0, most, &params), IsOk());
  const std::vector<TransferPiece> over(1024, piece);
  EXPECT_THAT(DescribeCopy(shape, 0, over, &params),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

// Goal: FastDivisor divides as the processor does, over its whole range.
// Method: divisors small, around powers of two, the largest, and from a seed;
//         numbers around multiples, where a wrong multiplier shows first.
TEST(FastDivisorTest, DividesAsTheProcessorDoes) {
  std::vector<uint32_t> divisors;
  for (uint32_t divisor = 1; divisor <= 2000; ++divisor) {
    divisors.push_back(divisor);
  }
  for (uint32_t bit = 11; bit < 31; ++bit) {
    divisors.push_back((1u << bit) - 1);
    divisors.push_back(1u << bit);
    divisors.push_back((1u << bit) + 1);
  }
  divisors.push_back(kFastDivideMax - 1);
  std::mt19937 random(7);
  for (int i = 0; i < 500; ++i) {
    divisors.push_back(random() % (kFastDivideMax - 1) + 1);
  }
  for (const uint32_t divisor : divisors) {
    const FastDivisor fast = MakeFastDivisor(divisor);
    std::vector<uint64_t> numbers = {0, 1, kFastDivideMax - 1};
    for (int i = 0; i < 100; ++i) {
      const uint64_t multiple =
          uint64_t{random() % ((kFastDivideMax - 1) / divisor + 1)} * divisor;
      numbers.push_back(multiple);
      numbers.push_back(multiple + divisor - 1);
      if (multiple > 0) numbers.push_back(multiple - 1);
    }
    for (const uint64_t number : numbers) {
      if (number >= kFastDivideMax) continue;
      const auto n = static_cast<uint32_t>(number);
      ASSERT_EQ(fast.Divide(n), n / divisor) << n << " / " << divisor;
    }
  }
}

// Goal: a batch takes copies in their order up to its size, without the empty
//       ones, which the driver refuses.
TEST(CopyBatchTest, TakesWhatFitsAndLeavesOutEmptyCopies) {
  std::byte source[8];
  std::byte target[8];
  std::vector<Copy> copies(CopyBatch::kCopiesMax + 10, Copy{target, source, 8});
  copies[1].bytes = 0;
  copies[2] = Copy{target + 4, source + 2, 3};
  CopyBatch batch;

  const size_t taken = batch.Fill(copies);

  EXPECT_EQ(taken, CopyBatch::kCopiesMax + 1);
  EXPECT_EQ(batch.count(), CopyBatch::kCopiesMax);
  EXPECT_EQ(batch.targets()[1], target + 4);
  EXPECT_EQ(batch.sources()[1], source + 2);
  EXPECT_EQ(batch.sizes()[1], 3u);
  EXPECT_EQ(batch.Fill(std::span(copies).subspan(taken)), 9u);
  EXPECT_EQ(batch.count(), 9u);

  const std::vector<Copy> empty(3);
  EXPECT_EQ(batch.Fill(empty), 3u);
  EXPECT_EQ(batch.count(), 0u);
}

}  // namespace
}  // namespace kvferry::gpu
