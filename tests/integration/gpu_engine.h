#ifndef KVFERRY_TESTS_INTEGRATION_GPU_ENGINE_H_
#define KVFERRY_TESTS_INTEGRATION_GPU_ENGINE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gpu/device.h"
#include "kvferry/client.h"
#include "kvferry/gpu.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/test_device.h"

namespace kvferry::test {

// A namespace as engines have them: attention with K and V in two slices, and
// an MLA latent.
inline NamespaceSpec EngineSpec() {
  NamespaceSpec spec;
  spec.name = "engine";
  spec.model = "test";
  spec.revision = "1";
  spec.dtype = "bf16";
  GroupSpec full;
  full.name = "full";
  full.block_tokens = 16;
  full.layer_count = 6;
  full.kv_count = 2;
  full.head_count = 2;
  full.head_bytes = 16;
  full.slice_count = 2;
  GroupSpec latent;
  latent.name = "latent";
  latent.block_tokens = 16;
  latent.layer_count = 3;
  latent.kv_count = 1;
  latent.head_count = 1;
  latent.head_bytes = 144;
  spec.groups = {full, latent};
  return spec;
}

// How an engine lays its blocks out.
enum class EngineOrder : uint8_t { kNhd = 0, kHnd = 1, kPacked = 2 };

// An engine in one process: a client, its Gpu, and paged tensors of one group
// in device memory, of whose blocks the test knows every byte. Key n's block
// holds a pattern of n, wherever it lies.
//
// Threads  one at a time
class GpuEngine {
 public:
  struct Options {
    std::string socket_path;
    uint32_t group = 0;
    EngineOrder order = EngineOrder::kNhd;
    uint64_t blocks = 64;
    uint32_t slice_first = 0;
    uint32_t slice_count = 0;  // 0: all
    bool register_host_memory = true;
    // Wait until the namespace's pools are imported.
    bool wait_for_pool = true;
  };

  static absl::StatusOr<std::unique_ptr<GpuEngine>> Start(
      const Options& options);
  ~GpuEngine();
  GpuEngine(const GpuEngine&) = delete;
  GpuEngine& operator=(const GpuEngine&) = delete;

  Client& client() { return *client_; }
  Gpu& gpu() { return *gpu_; }
  GpuStream stream() const { return {stream_->native()}; }
  const PagedMemory& memory() const { return *memory_; }
  const GroupSpec& group() const { return memory_->group(); }

  // --- blocks; both wait for the device ---

  // Block first + i holds key n + i, everything else what no key has.
  absl::Status Write(uint64_t first, uint64_t n, uint64_t count);
  // How many of the blocks from `first` on hold n, n + 1, ..., of the last one
  // the first `last_tokens` tokens (0: all).
  absl::StatusOr<uint64_t> CountRight(uint64_t first, uint64_t n,
                                      uint64_t count, uint32_t last_tokens = 0);

  // --- what engines do ---

  struct PublishHow {
    BlockResidence residence = BlockResidence::kGpu;
    uint32_t layers_a_part = 0;  // 0: whole blocks
    uint32_t tail_tokens = 0;
    uint64_t instance = 0;  // of ranks that write slices of the same blocks
    uint64_t publication = 0;
  };
  // Publishes keys [n, n + count) from this engine's blocks 0, 1, ..., which it
  // writes first, and closes.
  // Errors  kResourceExhausted  some found no space
  absl::Status Publish(uint64_t n, uint32_t count, const PublishHow& how);
  absl::Status Publish(uint64_t n, uint32_t count) {
    return Publish(n, count, PublishHow());
  }

  struct Pulled {
    uint32_t hit = 0;     // blocks that a match pinned
    uint32_t in_gpu = 0;  // of those, in GPU memory
    uint64_t right = 0;   // blocks whose bytes are right
    absl::Status status;  // of the transfer
  };
  // Matches keys [n, n + count) and pulls what hits into blocks 0, 1, ...,
  // having written over them in the engine's stream before. `right` is counted
  // only when the transfer went well.
  absl::StatusOr<Pulled> Pull(uint64_t n, uint32_t count,
                              uint32_t tail_tokens = 0,
                              uint32_t layers_a_piece = 0);

  // Follows keys [n, n + count), whatever of them is being written, into blocks
  // 0, 1, ... `hit` is how many came; the right ones are counted among those.
  absl::StatusOr<Pulled> Follow(uint64_t n, uint32_t count,
                                uint32_t layers_a_piece = 0);

  static std::vector<BlockKey> Keys(uint64_t n, uint64_t count) {
    std::vector<BlockKey> keys;
    for (uint64_t k = n; k < n + count; ++k) keys.push_back(NumberedKey(k));
    return keys;
  }

 private:
  GpuEngine() = default;
  absl::Status MakeMemory(const Options& options);
  absl::Status Finish();  // everything that the stream has
  absl::Status Upload();
  absl::Status Download();

  std::unique_ptr<gpu::Device> device_;
  std::unique_ptr<gpu::Stream> stream_;
  std::unique_ptr<gpu::Event> event_;
  std::unique_ptr<gpu::DeviceMemory> bytes_;
  std::unique_ptr<PagedMemory> memory_;  // over bytes_
  std::vector<std::byte> image_;         // of bytes_
  std::unique_ptr<PagedMemory> image_memory_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Gpu> gpu_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_GPU_ENGINE_H_
