#include "sdk/python/src/paged.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <vector>

#include "sdk/python/src/buffers.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/group_spec.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// kvferry.PagedLayer
struct PagedLayer {
  uint64_t base;
  int64_t kv_stride;
  int64_t block_stride;
  int64_t token_stride;
  int64_t head_stride;

  kvf_paged_layer ToC() const {
    kvf_paged_layer layer{};
    layer.size = sizeof(layer);
    layer.base = reinterpret_cast<void*>(static_cast<uintptr_t>(base));
    layer.kv_stride = kv_stride;
    layer.block_stride = block_stride;
    layer.token_stride = token_stride;
    layer.head_stride = head_stride;
    return layer;
  }
};

void ConstructLayer(PagedLayer* self, uint64_t base, int64_t kv_stride,
                    int64_t block_stride, int64_t token_stride,
                    int64_t head_stride) {
  new (self) PagedLayer{.base = base,
                        .kv_stride = kv_stride,
                        .block_stride = block_stride,
                        .token_stride = token_stride,
                        .head_stride = head_stride};
}

std::string LayerRepr(const PagedLayer& layer) {
  return "PagedLayer(" + std::to_string(layer.base) +
         ", kv_stride=" + std::to_string(layer.kv_stride) +
         ", block_stride=" + std::to_string(layer.block_stride) +
         ", token_stride=" + std::to_string(layer.token_stride) +
         ", head_stride=" + std::to_string(layer.head_stride) + ")";
}

void ConstructMemory(PagedMemory* self, const GroupSpec& group,
                     const std::vector<PagedLayer>& layers, int64_t block_count,
                     int64_t slice_first, int64_t slice_count,
                     int64_t sub_blocks, nb::object owner, bool on_device) {
  std::vector<kvf_paged_layer> c_layers;
  c_layers.reserve(layers.size());
  for (const PagedLayer& layer : layers) c_layers.push_back(layer.ToC());
  const kvf_group_spec spec = group.ToC();
  kvf_paged_options options{};
  options.size = sizeof(options);
  options.group = &spec;
  options.layers = c_layers.data();
  options.layer_count = c_layers.size();
  options.block_count = Uint64(block_count, "block_count");
  options.slice_first = Uint32(slice_first, "slice_first");
  options.slice_count = Uint32(slice_count, "slice_count");
  options.sub_blocks = Uint32(sub_blocks, "sub_blocks");
  if (on_device) options.flags |= KVF_PAGED_DEVICE;
  kvf_paged* paged = nullptr;
  Check(kvf_paged_create(&options, &paged));
  new (self)
      PagedMemory(paged, std::move(owner), on_device,
                  "<kvferry.PagedMemory of " + std::to_string(block_count) +
                      " blocks, " + std::to_string(layers.size()) + " layers" +
                      (on_device ? ", on a device>" : ">"));
}

void Gather(const PagedMemory& paged, int64_t engine_block, int64_t slice,
            const Buffer& page, int64_t valid_tokens) {
  const BufferView view(page, "page", PyBUF_WRITABLE);
  const uint64_t block = Uint64(engine_block, "engine_block");
  const uint32_t slice_index = Uint32(slice, "slice");
  const uint32_t tokens = Uint32(valid_tokens, "valid_tokens");
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_paged_gather(paged.get(), block, slice_index,
                              view.writable_data(), view.bytes(), tokens);
  }
  Check(status);
}

void Scatter(const PagedMemory& paged, int64_t engine_block, int64_t slice,
             const Buffer& page, int64_t valid_tokens) {
  const ReadBytes view(page, "page");
  const uint64_t block = Uint64(engine_block, "engine_block");
  const uint32_t slice_index = Uint32(slice, "slice");
  const uint32_t tokens = Uint32(valid_tokens, "valid_tokens");
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_paged_scatter(paged.get(), block, slice_index, view.data(),
                               view.bytes(), tokens);
  }
  Check(status);
}

// The owner may hold the memory's object, in a circle.
int Traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  if (!nb::inst_ready(self)) return 0;
  Py_VISIT(nb::inst_ptr<PagedMemory>(self)->owner().ptr());
  return 0;
}

int ClearOwner(PyObject* self) {
  if (nb::inst_ready(self)) nb::inst_ptr<PagedMemory>(self)->owner().reset();
  return 0;
}

PyType_Slot memory_slots[] = {
    {Py_tp_traverse, reinterpret_cast<void*>(&Traverse)},
    {Py_tp_clear, reinterpret_cast<void*>(&ClearOwner)},
    {0, nullptr}};

}  // namespace

void BindPaged(nb::module_& module) {
  nb::class_<PagedLayer> layer(
      module, "PagedLayer",
      "One layer of a group in an engine's memory. Strides are bytes:\n"
      "address(kv, block, token, head) = base + kv * kv_stride +\n"
      "block * block_stride + token * token_stride + head * head_stride");
  layer
      .def("__init__", &ConstructLayer, nb::arg("base"), nb::kw_only(),
           nb::arg("kv_stride") = 0, nb::arg("block_stride"),
           nb::arg("token_stride"), nb::arg("head_stride") = 0)
      .def_rw("base", &PagedLayer::base)
      .def_rw("kv_stride", &PagedLayer::kv_stride)
      .def_rw("block_stride", &PagedLayer::block_stride)
      .def_rw("token_stride", &PagedLayer::token_stride)
      .def_rw("head_stride", &PagedLayer::head_stride)
      .def("__repr__", &LayerRepr);
  RefusePickle(layer, "kvferry.PagedLayer", "addresses are a process's own");

  nb::class_<PagedMemory> memory(
      module, "PagedMemory", nb::type_slots(memory_slots),
      "Where an engine keeps a group's KV. `owner` is kept alive with it.\n"
      "kvferry.paged_memory makes one of tensors.");
  memory
      .def("__init__", &ConstructMemory, nb::arg("group"), nb::arg("layers"),
           nb::arg("block_count"), nb::kw_only(), nb::arg("slice_first") = 0,
           nb::arg("slice_count") = 0, nb::arg("sub_blocks") = 1,
           nb::arg("owner") = nb::none(), nb::arg("on_device") = false)
      .def_prop_ro("on_device", &PagedMemory::on_device)
      .def("gather", &Gather, nb::arg("engine_block"), nb::arg("slice"),
           nb::arg("page"), nb::arg("valid_tokens") = 0,
           "Copies one slice of an engine's block into a page.")
      .def("scatter", &Scatter, nb::arg("engine_block"), nb::arg("slice"),
           nb::arg("page"), nb::arg("valid_tokens") = 0,
           "Copies a page into one slice of an engine's block.")
      .def("__repr__", [](const PagedMemory& self) { return self.text(); });
  RefusePickle(memory, "kvferry.PagedMemory", "addresses are a process's own");
}

}  // namespace kvferry::python
