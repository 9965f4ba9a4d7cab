#ifndef KVFERRY_SDK_PYTHON_SRC_GPU_H_
#define KVFERRY_SDK_PYTHON_SRC_GPU_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/kvferry_gpu.h"
#include "sdk/python/src/buffers.h"
#include "sdk/python/src/client.h"
#include "sdk/python/src/paged.h"
#include "sdk/python/src/prefix.h"
#include "sdk/python/src/publication.h"
#include "sdk/python/src/stream.h"
#include "sdk/python/src/transfer.h"

namespace kvferry::python {

// A C gpu, closed when the last of its holders goes: the Gpu, or a call that is
// under way in another thread. Closing waits for the transfers, without the
// GIL; what they copy from and to is let go of afterwards.
class GpuHandle {
 public:
  GpuHandle(ClientRef client, kvf_gpu* gpu)
      : client_(std::move(client)), gpu_(gpu) {}
  ~GpuHandle();
  GpuHandle(const GpuHandle&) = delete;
  GpuHandle& operator=(const GpuHandle&) = delete;

  kvf_gpu* get() const { return gpu_; }

  // These want the GIL.
  // Holds `keep` until the transfer has ended.
  nanobind::object Started(kvf_transfer* transfer,
                           std::vector<nanobind::object> keep);
  void ForgetEnded();

 private:
  const ClientRef client_;
  kvf_gpu* const gpu_;
  std::vector<TransferRef> in_flight_;
};
using GpuRef = std::shared_ptr<GpuHandle>;

// kvferry.Gpu. Its fields change under the GIL alone.
class Gpu {
 public:
  explicit Gpu(GpuRef handle) : handle_(std::move(handle)) {}

  std::string uuid() const;
  std::string name() const;
  bool emulated() const;
  bool has_pool() const;
  void CheckPool() const;
  nanobind::object Pull(Prefix& prefix, nanobind::handle memory,
                        const Buffer& engine_blocks, nanobind::handle stream,
                        int64_t group, int64_t first, int64_t last_tokens,
                        int64_t layers_a_piece);
  nanobind::object PullGroups(Prefix& prefix, const nanobind::sequence& pulls,
                              nanobind::handle stream, int64_t layers_a_piece);
  nanobind::object Follow(Stream& prompt, nanobind::handle memory,
                          const Buffer& engine_blocks, nanobind::handle stream,
                          int64_t last_tokens, int64_t layers_a_piece);
  nanobind::object Publish(Publication& publication, int64_t first,
                           nanobind::handle memory, const Buffer& engine_blocks,
                           nanobind::handle stream, int64_t last_tokens,
                           int64_t first_layer, int64_t layer_count,
                           bool commit);
  std::optional<uint64_t> PrefixPage(Prefix& prefix, int64_t position,
                                     int64_t slice, int64_t group) const;
  std::optional<uint64_t> PublicationPage(Publication& publication,
                                          int64_t position,
                                          int64_t slice) const;
  void Close() { handle_.reset(); }
  std::string Repr() const;

 private:
  // Held by a call for as long as it takes.
  // Errors  FailedPrecondition  closed
  GpuRef handle() const;
  kvf_gpu_info Info() const;

  GpuRef handle_;
};

// kvferry.Gpu
void BindGpu(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_GPU_H_
