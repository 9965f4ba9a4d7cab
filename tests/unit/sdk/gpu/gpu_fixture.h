#ifndef KVFERRY_TESTS_UNIT_SDK_GPU_GPU_FIXTURE_H_
#define KVFERRY_TESTS_UNIT_SDK_GPU_GPU_FIXTURE_H_

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"
#include "gpu/emulated/control.h"
#include "kvferry/paged.h"
#include "sdk/gpu/gpu_impl.h"
#include "sdk/matcher.h"
#include "tests/support/fake_namespace.h"
#include "tests/unit/sdk/gpu/faulty_device.h"

namespace kvferry::sdk {

// How an engine under test lays its blocks out.
enum class EngineOrder { kNhd, kHnd, kPacked };

// An engine's paged memory of one group: its bytes, and where each lies.
struct Engine {
  std::vector<std::byte> bytes;
  std::unique_ptr<PagedMemory> memory;

  // What `memory` would gather, block by block.
  std::vector<std::byte> Page(uint64_t block, uint32_t slice,
                              uint32_t valid_tokens = 0) const {
    std::vector<std::byte> page(memory->group().page_bytes());
    KVFERRY_CHECK(memory->Gather(block, slice, page, valid_tokens).ok());
    return page;
  }
};

// A namespace of two groups (the second an MLA latent) with pools on the opened
// device (1, 3) and on another that is reached by peer access (2), an emulated
// device, and the Gpu over both. The test is the daemon.
class GpuFixture : public testing::Test {
 protected:
  static constexpr uint32_t kTokens = 8;
  static constexpr uint32_t kBlocks = 48;
  static constexpr uint32_t kOwnPool = 1;
  static constexpr uint32_t kPeerPool = 2;

  GpuFixture()
      : number_(next_number_.fetch_add(1)),
        control_(number_),
        fake_({FakeGroup(0), FakeGroup(1)},
              /*map_segments=*/false,
              {{.group = 0, .device = 0, .block_count = kBlocks},
               {.group = 0, .device = 1, .block_count = kBlocks},
               {.group = 1, .device = 0, .block_count = kBlocks}}),
        attachment_(std::make_shared<Attachment>(fake_.memory(),
                                                 Attachment::Options{})) {
    for (uint32_t g = 0; g < 2; ++g) {
      const protocol::GroupRecord& group = fake_.group(g);
      KVFERRY_CHECK(attachment_->segments()
                        .AddMemory(g, group.first_block, group.block_count,
                                   fake_.Page(g, group.first_block), true)
                        .ok());
    }
  }
  ~GpuFixture() override { control_.Release(); }

  static GroupSpec Group(uint32_t group) {
    GroupSpec spec;
    spec.name = group == 0 ? "full" : "latent";
    spec.block_tokens = kTokens;
    spec.slice_count = group == 0 ? 2 : 1;
    spec.layer_count = group == 0 ? 4 : 3;
    spec.kv_count = group == 0 ? 2 : 1;
    spec.head_count = group == 0 ? 2 : 1;
    spec.head_bytes = group == 0 ? 8 : 40;
    return spec;
  }

  static test::FakeNamespace::GroupOptions FakeGroup(uint32_t group) {
    const GroupSpec spec = Group(group);
    return {.block_tokens = kTokens,
            .block_count = kBlocks,
            .blocks_per_segment = kBlocks,
            .slice_count = spec.slice_count,
            .page_bytes = spec.page_bytes(),
            .layer_count = spec.layer_count,
            .kv_count = spec.kv_count,
            .head_count = spec.head_count,
            .head_bytes = spec.head_bytes};
  }

  // Opens the Gpu, with the pools' memory. `registers`: the host's is
  // registered when this returns; else its pages are staged, a few at a time.
  void Open(bool registers = true, uint32_t side_streams = 2) {
    GpuOptions options;
    options.side_streams = side_streams;
    options.staging_bytes = 8192;
    options.register_host_memory = registers;
    gpu::EmulatedOptions emulation;
    emulation.number = number_;
    auto emulated = gpu::OpenEmulated(emulation);
    KVFERRY_CHECK(emulated.ok());
    device_ = std::make_shared<FaultyDevice>(*std::move(emulated));
    auto stream = device_->CreateStream();
    KVFERRY_CHECK(stream.ok());
    engine_stream_ = *std::move(stream);
    auto gpu = GpuImpl::Create(
        device_,
        {.attachment = [this] { return attachment_; },
         .set_device =
             [this](std::shared_ptr<gpu::Device> device) {
               fake_.OpenGpu(attachment_.get(), std::move(device), 0,
                             {1, 2, 3});
               return absl::OkStatus();
             },
         .clear_device = [this] { attachment_->gpu_pools().ClearDevice(); }},
        options);
    KVFERRY_CHECK(gpu.ok());
    gpu_ = *std::move(gpu);
    gpu_->registrar().LookNow();
  }
  void* stream() const { return engine_stream_->native(); }

  // Runs `body` with a Gpu opened anew whose k-th device call fails, for every
  // k from 1 until none is reached, which must be below `calls_max`; each with
  // and without registered host memory, before and after the call's work. The
  // call is counted from where `body` calls `arm`; `disarm` ends it, and says
  // whether it was reached.
  template <typename Body>
  void ForEachFailingCall(uint64_t calls_max, const Body& body) {
    for (const bool registers : {true, false}) {
      for (const bool after_doing_it : {false, true}) {
        bool reached = true;
        for (uint64_t k = 1; reached; ++k) {
          ASSERT_LT(k, calls_max);
          SCOPED_TRACE(testing::Message() << "call " << k);
          gpu_.reset();
          Open(registers);
          body([&] { device_->FailCall(k, after_doing_it); },
               [&] {
                 reached = device_->failed();
                 device_->FailCall(INT64_MAX, false);
                 return reached;
               });
          if (HasFatalFailure()) return;
        }
      }
    }
  }

  // --- blocks ---

  static std::byte PatternByte(uint64_t seed, uint64_t i) {
    uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15 + i * 0xbf58476d1ce4e5b9;
    x ^= x >> 29;
    return static_cast<std::byte>(x * 0x94d049bb133111eb >> 56);
  }
  static std::vector<std::byte> Pattern(uint64_t seed, uint64_t bytes) {
    std::vector<std::byte> pattern(bytes);
    for (uint64_t i = 0; i < bytes; ++i) pattern[i] = PatternByte(seed, i);
    return pattern;
  }
  // Where this process sees a page, whatever memory it lies in.
  std::byte* Page(uint32_t group, uint32_t block, uint32_t slice) {
    GpuPools& pools = attachment_->gpu_pools();
    const uint32_t pool = pools.PoolOf(block);
    std::byte* const base =
        pool == 0 ? fake_.Page(group, block)
                  : pools.Find(pool)->memory->address() + pools.OffsetOf(block);
    return base + slice * Group(group).page_bytes();
  }
  void FillBlock(uint32_t group, uint32_t block, uint64_t seed) {
    for (uint32_t s = 0; s < Group(group).slice_count; ++s) {
      const auto pattern = Pattern(seed * 64 + s, Group(group).page_bytes());
      std::memcpy(Page(group, block, s), pattern.data(), pattern.size());
    }
  }
  // Enters a ready key n with its pattern in pool `pool` (0: host).
  uint32_t PutKey(uint64_t n, uint32_t pool, uint32_t group = 0) {
    const BlockKey key = test::NumberedKey(n);
    const uint32_t block =
        pool == 0 ? fake_.Put(key, group) : fake_.PutGpu(key, pool);
    FillBlock(group, block, n);
    return block;
  }
  // Keys 0 to `count` - 1 in all memories in turn; those that `blocks` has from
  // a call before are filled again, since their memory is another.
  void PutKeysEverywhere(uint64_t count, std::vector<uint32_t>* blocks) {
    for (uint64_t n = 0; n < count; ++n) {
      if (blocks->size() == n) {
        blocks->push_back(PutKey(n, static_cast<uint32_t>(n % 3)));
      } else {
        FillBlock(0, (*blocks)[n], n);
      }
    }
  }
  PinnedPrefix Match(uint64_t first, uint64_t count, uint32_t group = 0) {
    std::vector<BlockKey> keys;
    for (uint64_t n = first; n < first + count; ++n) {
      keys.push_back(test::NumberedKey(n));
    }
    PinnedPrefix prefix;
    KVFERRY_CHECK(
        Matcher::MatchPrefix(attachment_.get(), group, keys, &prefix).ok());
    return prefix;
  }

  // --- engines ---

  static Engine MakeEngine(EngineOrder order, uint32_t group = 0,
                           uint64_t blocks = 16, uint32_t slice_first = 0,
                           uint32_t slice_count = 0) {
    const GroupSpec spec = Group(group);
    const uint32_t slices =
        slice_count == 0 ? spec.slice_count - slice_first : slice_count;
    const auto head = static_cast<int64_t>(spec.head_bytes);
    const auto heads = static_cast<int64_t>(spec.head_count * slices);
    const auto tokens = static_cast<int64_t>(spec.block_tokens);
    const auto kvs = static_cast<int64_t>(spec.kv_count);
    const auto count = static_cast<int64_t>(blocks);
    const int64_t kv_block = tokens * heads * head;
    Engine engine;
    engine.bytes.resize(
        static_cast<size_t>(spec.layer_count * kvs * count * kv_block));
    PagedOptions options;
    options.block_count = blocks;
    options.slice_first = slice_first;
    options.slice_count = slices;
    for (uint32_t l = 0; l < spec.layer_count; ++l) {
      // The last layer first: nothing may depend on their order.
      PagedLayer layer;
      layer.base = engine.bytes.data() +
                   (spec.layer_count - 1 - l) * kvs * count * kv_block;
      switch (order) {
        case EngineOrder::kNhd:
          layer.kv_stride = count * kv_block;
          layer.block_stride = kv_block;
          layer.token_stride = heads * head;
          layer.head_stride = head;
          break;
        case EngineOrder::kHnd:
          layer.kv_stride = count * kv_block;
          layer.block_stride = kv_block;
          layer.token_stride = head;
          layer.head_stride = tokens * head;
          break;
        case EngineOrder::kPacked:
          layer.kv_stride = kv_block;
          layer.block_stride = kvs * kv_block;
          layer.token_stride = heads * head;
          layer.head_stride = head;
          break;
      }
      options.layers.push_back(layer);
    }
    auto memory = PagedMemory::Create(spec, std::move(options));
    KVFERRY_CHECK(memory.ok());
    engine.memory = std::make_unique<PagedMemory>(*std::move(memory));
    return engine;
  }
  // Whether the engine's block is key n's, all slices that it has.
  static bool HasKey(const Engine& engine, uint64_t block, uint64_t n) {
    for (uint32_t s = engine.memory->slice_first();
         s < engine.memory->slice_end(); ++s) {
      if (engine.Page(block, s) !=
          Pattern(n * 64 + s, engine.memory->group().page_bytes())) {
        return false;
      }
    }
    return true;
  }

  static inline std::atomic<uint32_t> next_number_{100};

  const uint32_t number_;  // the emulated device's: nobody else's
  gpu::EmulatedControl control_;
  test::FakeNamespace fake_;
  const std::shared_ptr<Attachment> attachment_;
  std::shared_ptr<FaultyDevice> device_;
  std::unique_ptr<gpu::Stream> engine_stream_;
  std::unique_ptr<GpuImpl> gpu_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_TESTS_UNIT_SDK_GPU_GPU_FIXTURE_H_
