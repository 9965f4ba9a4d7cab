#include "tests/integration/gpu_engine.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/time/clock.h"
#include "base/status.h"
#include "tests/support/becomes.h"

namespace kvferry::test {
namespace {

constexpr std::byte kNoKeys{0xee};

absl::Time Later() { return absl::Now() + absl::Seconds(20); }

std::vector<std::byte> Pattern(uint64_t n, uint32_t slice, uint64_t bytes) {
  std::vector<std::byte> pattern(bytes);
  uint64_t word = (n + 1) * 0x9e3779b97f4a7c15 + slice;
  for (uint64_t i = 0; i < bytes; ++i) {
    word = word * 6364136223846793005 + 1442695040888963407;
    pattern[i] = static_cast<std::byte>(word >> 56);
  }
  return pattern;
}

absl::StatusOr<PagedMemory> Describe(std::byte* base,
                                     const GpuEngine::Options& options,
                                     const GroupSpec& group, uint32_t slices) {
  const auto head = static_cast<int64_t>(group.head_bytes);
  const auto heads = static_cast<int64_t>(group.head_count * slices);
  const auto tokens = static_cast<int64_t>(group.block_tokens);
  const auto kvs = static_cast<int64_t>(group.kv_count);
  const auto blocks = static_cast<int64_t>(options.blocks);
  const int64_t kv_block = tokens * heads * head;
  PagedOptions paged;
  paged.block_count = options.blocks;
  paged.slice_first = options.slice_first;
  paged.slice_count = slices;
  for (uint32_t l = 0; l < group.layer_count; ++l) {
    PagedLayer layer;
    layer.base = base + l * kvs * blocks * kv_block;
    layer.kv_stride = blocks * kv_block;
    layer.block_stride = kv_block;
    layer.token_stride = heads * head;
    layer.head_stride = head;
    if (options.order == EngineOrder::kHnd) {
      layer.token_stride = head;
      layer.head_stride = tokens * head;
    } else if (options.order == EngineOrder::kPacked) {
      layer.kv_stride = kv_block;
      layer.block_stride = kvs * kv_block;
    }
    paged.layers.push_back(layer);
  }
  return PagedMemory::Create(group, std::move(paged));
}

}  // namespace

absl::StatusOr<std::unique_ptr<GpuEngine>> GpuEngine::Start(
    const Options& options) {
  std::unique_ptr<GpuEngine> engine(new GpuEngine);
  KVFERRY_ASSIGN_OR_RETURN(engine->device_, gpu::OpenDevice(TestDeviceName()));
  KVFERRY_ASSIGN_OR_RETURN(engine->stream_, engine->device_->CreateStream());
  KVFERRY_ASSIGN_OR_RETURN(engine->event_, engine->device_->CreateEvent());
  KVFERRY_RETURN_IF_ERROR(engine->MakeMemory(options));
  AttachOptions attach;
  attach.socket_path = options.socket_path;
  attach.spec = EngineSpec();
  KVFERRY_ASSIGN_OR_RETURN(engine->client_, Client::Attach(attach));
  GpuOptions opening;
  opening.device = TestDeviceName();
  opening.staging_bytes = uint64_t{1} << 20;
  opening.register_host_memory = options.register_host_memory;
  KVFERRY_ASSIGN_OR_RETURN(engine->gpu_,
                           Gpu::Open(engine->client_.get(), opening));
  if (options.wait_for_pool &&
      !Becomes([&] { return engine->gpu_->has_pool(); })) {
    return engine->gpu_->pool_status();
  }
  return engine;
}

GpuEngine::~GpuEngine() {
  if (stream_ != nullptr) (void)Finish();
}

absl::Status GpuEngine::MakeMemory(const Options& options) {
  const GroupSpec group = EngineSpec().groups[options.group];
  const uint32_t slices = options.slice_count == 0
                              ? group.slice_count - options.slice_first
                              : options.slice_count;
  image_.resize(group.page_bytes() * slices * options.blocks);
  KVFERRY_ASSIGN_OR_RETURN(bytes_, device_->AllocatePrivate(image_.size()));
  KVFERRY_ASSIGN_OR_RETURN(PagedMemory image,
                           Describe(image_.data(), options, group, slices));
  image_memory_ = std::make_unique<PagedMemory>(std::move(image));
  KVFERRY_ASSIGN_OR_RETURN(PagedMemory memory,
                           Describe(bytes_->address(), options, group, slices));
  memory_ = std::make_unique<PagedMemory>(std::move(memory));
  return absl::OkStatus();
}

absl::Status GpuEngine::Finish() {
  KVFERRY_RETURN_IF_ERROR(device_->Record(event_.get(), stream_->native()));
  return device_->Synchronize(*event_);
}

absl::Status GpuEngine::Upload() {
  const gpu::Copy copy{bytes_->address(), image_.data(), image_.size()};
  KVFERRY_RETURN_IF_ERROR(device_->CopyAsync({&copy, 1}, stream_->native()));
  return Finish();
}

absl::Status GpuEngine::Download() {
  const gpu::Copy copy{image_.data(), bytes_->address(), image_.size()};
  KVFERRY_RETURN_IF_ERROR(device_->CopyAsync({&copy, 1}, stream_->native()));
  return Finish();
}

absl::Status GpuEngine::Write(uint64_t first, uint64_t n, uint64_t count) {
  std::fill(image_.begin(), image_.end(), kNoKeys);
  for (uint64_t i = 0; i < count; ++i) {
    for (uint32_t s = memory_->slice_first(); s < memory_->slice_end(); ++s) {
      KVFERRY_RETURN_IF_ERROR(image_memory_->Scatter(
          first + i, s, Pattern(n + i, s, group().page_bytes())));
    }
  }
  return Upload();
}

absl::StatusOr<uint64_t> GpuEngine::CountRight(uint64_t first, uint64_t n,
                                               uint64_t count,
                                               uint32_t last_tokens) {
  KVFERRY_RETURN_IF_ERROR(Download());
  uint64_t right = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t tokens = i + 1 == count ? last_tokens : 0;
    bool same = true;
    for (uint32_t s = memory_->slice_first(); s < memory_->slice_end(); ++s) {
      // The pattern by way of a block, so that a tail's rest does not count.
      const std::vector<std::byte> pattern =
          Pattern(n + i, s, group().page_bytes());
      std::vector<std::byte> found = pattern;
      KVFERRY_RETURN_IF_ERROR(
          image_memory_->Gather(first + i, s, found, tokens));
      same &= found == pattern;
    }
    right += same ? 1 : 0;
  }
  return right;
}

absl::Status GpuEngine::Publish(uint64_t n, uint32_t count,
                                const PublishHow& how) {
  KVFERRY_RETURN_IF_ERROR(Write(0, n, count));
  PublicationOptions options;
  options.residence = how.residence;
  options.engine_instance = how.instance;
  options.publication = how.publication;
  options.slice_first = memory_->slice_first();
  options.slice_count = memory_->slice_end() - memory_->slice_first();
  KVFERRY_ASSIGN_OR_RETURN(Publication publication,
                           client_->OpenPublication(options));
  const uint32_t group = memory_->group().name == "full" ? 0 : 1;
  std::vector<uint64_t> blocks(count);
  std::iota(blocks.begin(), blocks.end(), 0);
  KVFERRY_ASSIGN_OR_RETURN(const uint32_t first,
                           publication.BeginWithTail(group, {}, Keys(n, count),
                                                     how.tail_tokens, Later()));
  const uint32_t all = memory_->group().layer_count;
  const uint32_t part = how.layers_a_part == 0 ? all : how.layers_a_part;
  GpuTransfer transfer;
  for (uint32_t layer = 0; layer < all; layer += part) {
    GpuPublishOptions publish;
    publish.first_layer = layer;
    publish.layer_count = std::min(part, all - layer);
    publish.last_tokens = how.tail_tokens;
    KVFERRY_ASSIGN_OR_RETURN(
        transfer, gpu_->PublishFrom(&publication, first, *memory_, blocks,
                                    stream(), publish));
  }
  const absl::Status closed = publication.Close(Later());
  KVFERRY_RETURN_IF_ERROR(transfer.Wait(Later()));
  KVFERRY_RETURN_IF_ERROR(closed);
  for (uint32_t i = 0; i < count; ++i) {
    if (publication.outcome(first + i) != BlockOutcome::kNoSpace) continue;
    return absl::ResourceExhaustedError("no space");
  }
  return absl::OkStatus();
}

absl::StatusOr<GpuEngine::Pulled> GpuEngine::Pull(uint64_t n, uint32_t count,
                                                  uint32_t tail_tokens,
                                                  uint32_t layers_a_piece) {
  const std::vector<BlockKey> keys = Keys(n, count);
  const uint32_t group = memory_->group().name == "full" ? 0 : 1;
  const GroupKeys named{group, keys, tail_tokens};
  PinnedPrefix prefix;
  KVFERRY_RETURN_IF_ERROR(client_->Match({&named, 1}, &prefix));
  Pulled pulled;
  pulled.hit = prefix.block_count(group);
  if (pulled.hit == 0) return pulled;
  for (uint32_t i = 0; i < pulled.hit; ++i) {
    pulled.in_gpu += prefix.residence(i, group) == BlockResidence::kGpu ? 1 : 0;
  }
  KVFERRY_RETURN_IF_ERROR(Write(0, 0, 0));
  std::vector<uint64_t> blocks(pulled.hit);
  std::iota(blocks.begin(), blocks.end(), 0);
  GpuPull pull;
  pull.group = group;
  pull.memory = memory_.get();
  pull.engine_blocks = blocks;
  pull.last_tokens = pulled.hit == count ? tail_tokens : 0;
  GpuPullOptions options;
  options.layers_a_piece = layers_a_piece;
  KVFERRY_ASSIGN_OR_RETURN(
      const GpuTransfer transfer,
      gpu_->PullTo(std::move(prefix), pull, stream(), options));
  // What the engine's stream is given from here on must see the bytes: the
  // check reads them there.
  const absl::Status ordered = transfer.OrderAfter(stream());
  if (ordered.ok()) {
    KVFERRY_ASSIGN_OR_RETURN(pulled.right,
                             CountRight(0, n, pulled.hit, pull.last_tokens));
  }
  pulled.status = transfer.Wait(Later());
  if (!pulled.status.ok()) pulled.right = 0;
  return pulled;
}

absl::StatusOr<GpuEngine::Pulled> GpuEngine::Follow(uint64_t n, uint32_t count,
                                                    uint32_t layers_a_piece) {
  const std::vector<BlockKey> keys = Keys(n, count);
  StreamOptions following;
  following.group = memory_->group().name == "full" ? 0 : 1;
  PrefixStream stream;
  KVFERRY_RETURN_IF_ERROR(client_->Match(keys, following, &stream));
  KVFERRY_RETURN_IF_ERROR(Write(0, 0, 0));
  std::vector<uint64_t> blocks(count);
  std::iota(blocks.begin(), blocks.end(), 0);
  GpuPull pull;
  pull.group = following.group;
  pull.memory = memory_.get();
  pull.engine_blocks = blocks;
  GpuPullOptions options;
  options.layers_a_piece = layers_a_piece;
  KVFERRY_ASSIGN_OR_RETURN(
      const GpuTransfer transfer,
      gpu_->Follow(std::move(stream), pull, this->stream(), options));
  Pulled pulled;
  pulled.status = transfer.Wait(absl::Now() + absl::Minutes(1));
  if (!transfer.done()) return pulled.status;
  pulled.hit = count - static_cast<uint32_t>(transfer.skipped().size());
  KVFERRY_ASSIGN_OR_RETURN(pulled.right, CountRight(0, n, pulled.hit));
  return pulled;
}

}  // namespace kvferry::test
