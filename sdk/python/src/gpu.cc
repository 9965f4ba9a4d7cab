#include "sdk/python/src/gpu.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <deque>
#include <utility>

#include "sdk/python/src/cuda_stream.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/text.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// What goes where, of some groups, and the objects that it names.
class BlocksList {
 public:
  void Add(nb::handle memory, const Buffer& engine_blocks, int64_t group,
           int64_t first, int64_t last_tokens) {
    const EngineBlocksView& view = views_.emplace_back(engine_blocks);
    kvf_gpu_blocks blocks{};
    blocks.size = sizeof(blocks);
    blocks.paged = nb::cast<const PagedMemory&>(memory).get();
    blocks.engine_blocks = view.data();
    blocks.count = view.size();
    blocks.group = Uint32(group, "group");
    blocks.first = Uint32(first, "first");
    blocks.last_tokens = Uint32(last_tokens, "last_tokens");
    blocks_.push_back(blocks);
    memories_.push_back(nb::borrow(memory));
  }

  // (group, memory, engine_blocks[, first[, last_tokens]])
  // Errors  TypeError  anything else
  void AddTuple(nb::handle item) {
    constexpr size_t kItemsMin = 3;
    constexpr size_t kItemsMax = 5;
    if (!nb::isinstance<nb::tuple>(item) || nb::len(item) < kItemsMin ||
        nb::len(item) > kItemsMax) {
      throw nb::type_error(
          "pulls: each must be (group, memory, engine_blocks[, first[, "
          "last_tokens]])");
    }
    const nb::tuple pull = nb::borrow<nb::tuple>(item);
    if (!nb::isinstance<PagedMemory>(pull[1]) ||
        !PyObject_CheckBuffer(nb::handle(pull[2]).ptr())) {
      throw nb::type_error(
          "pulls: memory must be a PagedMemory, engine_blocks a buffer");
    }
    Add(pull[1], nb::borrow<Buffer>(pull[2]), Integer(pull[0]),
        pull.size() > kItemsMin ? Integer(pull[3]) : 0,
        pull.size() > kItemsMin + 1 ? Integer(pull[4]) : 0);
  }

  const kvf_gpu_blocks* data() const { return blocks_.data(); }
  size_t size() const { return blocks_.size(); }
  std::vector<nb::object> TakeMemories() { return std::move(memories_); }

 private:
  std::deque<EngineBlocksView> views_;  // which do not move
  std::vector<kvf_gpu_blocks> blocks_;
  std::vector<nb::object> memories_;
};

kvf_gpu_pull_options PullOptions(int64_t layers_a_piece) {
  kvf_gpu_pull_options options{};
  options.size = sizeof(options);
  options.layers_a_piece = Uint32(layers_a_piece, "layers_a_piece");
  return options;
}

std::optional<uint64_t> AddressOrNone(const void* page) {
  if (page == nullptr) return std::nullopt;
  return reinterpret_cast<uintptr_t>(page);
}

nb::object PullBlocks(const GpuRef& gpu, Prefix& prefix, BlocksList& blocks,
                      nb::handle stream, int64_t layers_a_piece) {
  void* const c_stream = CudaStream(stream);
  const kvf_gpu_pull_options options = PullOptions(layers_a_piece);
  kvf_transfer* transfer = nullptr;
  Check(prefix.TakeOver([&](kvf_prefix* pins) {
    return kvf_gpu_pull(gpu->get(), pins, blocks.data(), blocks.size(),
                        c_stream, &options, &transfer);
  }));
  return gpu->Started(transfer, blocks.TakeMemories());
}

void Open(Gpu* self, const Client& client, const std::string& device,
          int64_t side_streams, bool register_host_memory,
          int64_t staging_bytes) {
  const ClientRef client_handle = client.handle();
  kvf_gpu_options options{};
  options.size = sizeof(options);
  options.device = CText(device, "device");
  options.side_streams = Uint32(side_streams, "side_streams");
  options.staging_bytes = Uint64(staging_bytes, "staging_bytes");
  if (!register_host_memory) options.flags |= KVF_GPU_NO_HOST_REGISTRATION;
  kvf_gpu* gpu = nullptr;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_gpu_open(client_handle->get(), &options, &gpu);
  }
  Check(status);
  new (self) Gpu(std::make_shared<GpuHandle>(client_handle, gpu));
}

}  // namespace

GpuHandle::~GpuHandle() {
  const GilRelease release(GilHeld());
  kvf_gpu_close(gpu_);
}

nb::object GpuHandle::Started(kvf_transfer* transfer,
                              std::vector<nb::object> keep) {
  auto handle = std::make_shared<TransferHandle>(transfer, std::move(keep));
  ForgetEnded();
  in_flight_.push_back(handle);
  return MakeTransfer(std::move(handle));
}

void GpuHandle::ForgetEnded() {
  // What the end of a memory runs may come back here.
  std::vector<TransferRef> under_way;
  std::vector<TransferRef> all = std::exchange(in_flight_, {});
  for (TransferRef& transfer : all) {
    if (kvf_transfer_done(transfer->get()) == 0) {
      under_way.push_back(transfer);
    }
  }
  in_flight_.insert(in_flight_.end(), under_way.begin(), under_way.end());
  for (const TransferRef& transfer : all) (void)transfer->LookWhetherDone();
}

GpuRef Gpu::handle() const {
  if (handle_ == nullptr) Raise(KVF_FAILED_PRECONDITION, "gpu: closed");
  return handle_;
}

kvf_gpu_info Gpu::Info() const {
  kvf_gpu_info info{};
  info.size = sizeof(info);
  Check(kvf_gpu_get_info(handle()->get(), &info));
  return info;
}

std::string Gpu::uuid() const { return Info().uuid; }
std::string Gpu::name() const { return Info().name; }
bool Gpu::emulated() const { return Info().emulated != 0; }
bool Gpu::has_pool() const { return Info().has_pool != 0; }
void Gpu::CheckPool() const { Check(kvf_gpu_check_pool(handle()->get())); }

nb::object Gpu::Pull(Prefix& prefix, nb::handle memory,
                     const Buffer& engine_blocks, nb::handle stream,
                     int64_t group, int64_t first, int64_t last_tokens,
                     int64_t layers_a_piece) {
  BlocksList blocks;
  blocks.Add(memory, engine_blocks, group, first, last_tokens);
  return PullBlocks(handle(), prefix, blocks, stream, layers_a_piece);
}

nb::object Gpu::PullGroups(Prefix& prefix, const nb::sequence& pulls,
                           nb::handle stream, int64_t layers_a_piece) {
  BlocksList blocks;
  for (const nb::handle pull : pulls) blocks.AddTuple(pull);
  return PullBlocks(handle(), prefix, blocks, stream, layers_a_piece);
}

nb::object Gpu::Follow(Stream& prompt, nb::handle memory,
                       const Buffer& engine_blocks, nb::handle stream,
                       int64_t last_tokens, int64_t layers_a_piece) {
  const GpuRef gpu = handle();
  void* const c_stream = CudaStream(stream);
  const kvf_gpu_pull_options options = PullOptions(layers_a_piece);
  BlocksList blocks;
  blocks.Add(memory, engine_blocks, prompt.group(), /*first=*/0, last_tokens);
  kvf_transfer* transfer = nullptr;
  Check(prompt.TakeOver([&](kvf_stream* followed) {
    return kvf_gpu_follow(gpu->get(), followed, blocks.data(), c_stream,
                          &options, &transfer);
  }));
  return gpu->Started(transfer, blocks.TakeMemories());
}

nb::object Gpu::Publish(Publication& publication, int64_t first,
                        nb::handle memory, const Buffer& engine_blocks,
                        nb::handle stream, int64_t last_tokens,
                        int64_t first_layer, int64_t layer_count, bool commit) {
  const GpuRef gpu = handle();
  void* const c_stream = CudaStream(stream);
  kvf_gpu_publish_options options{};
  options.size = sizeof(options);
  if (!commit) options.flags |= KVF_GPU_PUBLISH_NO_COMMIT;
  options.first_layer = Uint32(first_layer, "first_layer");
  options.layer_count = Uint32(layer_count, "layer_count");
  BlocksList blocks;
  blocks.Add(memory, engine_blocks, /*group=*/0, first, last_tokens);
  kvf_transfer* transfer = nullptr;
  kvf_status status;
  {
    const ExclusiveUse use(publication.exclusive(), "publication");
    const GilRelease release;
    status = kvf_gpu_publish(gpu->get(), publication.get(), blocks.data(),
                             c_stream, &options, &transfer);
  }
  Check(status);
  return gpu->Started(transfer, blocks.TakeMemories());
}

std::optional<uint64_t> Gpu::PrefixPage(Prefix& prefix, int64_t position,
                                        int64_t slice, int64_t group) const {
  const GpuRef gpu = handle();
  const uint32_t block = Uint32(position, "position");
  const uint32_t slice_index = Uint32(slice, "slice");
  const uint32_t group_index = Uint32(group, "group");
  void* page = nullptr;
  Check(prefix.Read([&](const kvf_prefix* pins) {
    return kvf_gpu_prefix_page(gpu->get(), pins, block, slice_index,
                               group_index, &page);
  }));
  return AddressOrNone(page);
}

std::optional<uint64_t> Gpu::PublicationPage(Publication& publication,
                                             int64_t position,
                                             int64_t slice) const {
  const GpuRef gpu = handle();
  const uint32_t block = Uint32(position, "position");
  const uint32_t slice_index = Uint32(slice, "slice");
  void* page = nullptr;
  const ExclusiveUse use(publication.exclusive(), "publication");
  Check(kvf_gpu_publication_page(gpu->get(), publication.get(), block,
                                 slice_index, &page));
  return AddressOrNone(page);
}

std::string Gpu::Repr() const {
  if (handle_ == nullptr) return "<kvferry.Gpu, closed>";
  return "<kvferry.Gpu " + uuid() + ", " + name() +
         (has_pool() ? ", with a pool>" : ", without a pool>");
}

void BindGpu(nb::module_& module) {
  nb::class_<Gpu> gpu(
      module, "Gpu",
      "A client's device: blocks into and out of an engine's tensors there, "
      "on\n"
      "streams. Any number of threads use it. `with` closes it.");
  gpu.def("__init__", &Open, nb::arg("client"), nb::arg("device") = "",
          nb::kw_only(), nb::arg("side_streams") = 0,
          nb::arg("register_host_memory") = true, nb::arg("staging_bytes") = 0)
      .def_prop_ro("uuid", &Gpu::uuid)
      .def_prop_ro("name", &Gpu::name)
      .def_prop_ro("emulated", &Gpu::emulated)
      .def_prop_ro("has_pool", &Gpu::has_pool,
                   "Whether the namespace has GPU memory that this process\n"
                   "has imported.")
      .def("check_pool", &Gpu::CheckPool, "Raises why it has none.")
      .def("pull", &Gpu::Pull, nb::arg("prefix"), nb::arg("memory"),
           nb::arg("engine_blocks"), nb::arg("stream").none() = nb::none(),
           nb::kw_only(), nb::arg("group") = 0, nb::arg("first") = 0,
           nb::arg("last_tokens") = 0, nb::arg("layers_a_piece") = 0,
           "Copies blocks [first, first + n) of a hit into the engine's (-1:\n"
           "skipped). The pins are the transfer's, `prefix` is empty.")
      .def("pull_groups", &Gpu::PullGroups, nb::arg("prefix"), nb::arg("pulls"),
           nb::arg("stream").none() = nb::none(), nb::kw_only(),
           nb::arg("layers_a_piece") = 0,
           "The same of several groups at once, each (group, memory,\n"
           "engine_blocks[, first[, last_tokens]]).")
      .def(
          "follow", &Gpu::Follow, nb::arg("prompt"), nb::arg("memory"),
          nb::arg("engine_blocks"), nb::arg("stream").none() = nb::none(),
          nb::kw_only(), nb::arg("last_tokens") = 0,
          nb::arg("layers_a_piece") = 0,
          "Copies a Stream's blocks as they come, one engine block a key. The\n"
          "Stream is as a released one afterwards.")
      .def("publish", &Gpu::Publish, nb::arg("publication"), nb::arg("first"),
           nb::arg("memory"), nb::arg("engine_blocks"),
           nb::arg("stream").none() = nb::none(), nb::kw_only(),
           nb::arg("last_tokens") = 0, nb::arg("first_layer") = 0,
           nb::arg("layer_count") = 0, nb::arg("commit") = true,
           "Copies the engine's blocks to positions [first, first + n) of a\n"
           "publication, and commits those when their bytes are there.")
      .def("prefix_page", &Gpu::PrefixPage, nb::arg("prefix"),
           nb::arg("position"), nb::arg("slice") = 0, nb::arg("group") = 0,
           "A page's address for the device's own reads; None: the device\n"
           "cannot reach it.")
      .def("publication_page", &Gpu::PublicationPage, nb::arg("publication"),
           nb::arg("position"), nb::arg("slice") = 0,
           "The same of a page to be written.")
      .def("close", &Gpu::Close, "Waits until its transfers have ended.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](Gpu& self, nb::handle, nb::handle, nb::handle) { self.Close(); },
          nb::arg("kind").none(), nb::arg("error").none(),
          nb::arg("trace").none())
      .def("__repr__", &Gpu::Repr);
  RefusePickle(gpu, "kvferry.Gpu", "open the device in the other process");
}

}  // namespace kvferry::python
