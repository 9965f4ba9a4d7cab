#include "sdk/python/src/publish.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "sdk/python/src/buffers.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/publication.h"
#include "sdk/python/src/residence.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

nb::object OpenPublication(const Client& client, uint64_t engine_instance,
                           uint64_t publication, int64_t slice_first,
                           int64_t slice_count, double stall_timeout,
                           bool standby, const std::string& residence) {
  const ClientRef handle = client.handle();
  kvf_publication_options options{};
  options.size = sizeof(options);
  options.engine_instance = engine_instance;
  options.publication = publication;
  options.slice_first = Uint32(slice_first, "slice_first");
  options.slice_count = Uint32(slice_count, "slice_count");
  options.stall_timeout_ns = DurationNs(stall_timeout, "stall_timeout");
  options.residence = ResidenceToWrite(residence);
  if (!standby) options.flags |= KVF_PUBLISH_NO_STANDBY;
  kvf_publication* opened = nullptr;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_publication_open(handle->get(), &options, &opened);
  }
  Check(status);
  auto owner = std::make_shared<PublicationHandle>(handle, opened);
  nb::object object = nb::inst_alloc(nb::type<Publication>());
  new (nb::inst_ptr<Publication>(object)) Publication(std::move(owner));
  nb::inst_mark_ready(object);
  return object;
}

// To take or to let go of a buffer takes some hundred nanoseconds.
constexpr size_t kBuffersAtOnce = 64;

// Blocks to copy from: one buffer with all of them, or a sequence of buffers.
class SourcesView {
 public:
  // Errors  InvalidArgument  a size that is not the group's, or another count
  SourcesView(nb::handle blocks, size_t count, const GroupSpec& group) {
    if (PyObject_CheckBuffer(blocks.ptr())) {
      AddOne(blocks, count, group.block_bytes());
    } else {
      AddEach(blocks, count, group.block_bytes());
    }
  }
  ~SourcesView() {
    while (!views_.empty()) {
      views_.pop_back();
      if (views_.size() % kBuffersAtOnce == kBuffersAtOnce - 1) YieldGil();
    }
  }
  SourcesView(const SourcesView&) = delete;
  SourcesView& operator=(const SourcesView&) = delete;

  const void* const* data() const { return sources_.data(); }

 private:
  void AddOne(nb::handle blocks, size_t count, uint64_t block_bytes) {
    const ReadBytes& view = views_.emplace_back(blocks, "blocks");
    if (view.bytes() != count * block_bytes) {
      Raise(KVF_INVALID_ARGUMENT, "blocks: " + std::to_string(view.bytes()) +
                                      " bytes, must be " +
                                      std::to_string(count) + " keys' " +
                                      std::to_string(block_bytes) + " each");
    }
    const GilRelease release(count > kKeysWithGilMax);
    sources_.reserve(count);
    for (size_t i = 0; i < count; ++i) {
      sources_.push_back(static_cast<const char*>(view.data()) +
                         i * block_bytes);
    }
  }

  void AddEach(nb::handle blocks, size_t count, uint64_t block_bytes) {
    // A list as it is, without a copy: it is asked for its length each time,
    // since other code may change it in between.
    const nb::object items = nb::steal(PySequence_Fast(
        blocks.ptr(), "blocks: must be a buffer or a sequence of buffers"));
    if (!items.is_valid()) throw nb::python_error();
    sources_.reserve(count);
    for (size_t index = 0; index < count; ++index) {
      if (index % kBuffersAtOnce == kBuffersAtOnce - 1) YieldGil();
      CheckCount(items, count);
      const nb::object block = nb::borrow(PySequence_Fast_GET_ITEM(
          items.ptr(), static_cast<Py_ssize_t>(index)));
      if (!PyObject_CheckBuffer(block.ptr())) {
        throw nb::type_error("blocks: each must be a buffer");
      }
      const ReadBytes& view = views_.emplace_back(block, "blocks");
      if (view.bytes() != block_bytes) {
        Raise(KVF_INVALID_ARGUMENT, "blocks: " + std::to_string(view.bytes()) +
                                        " bytes at " + std::to_string(index) +
                                        ", must be " +
                                        std::to_string(block_bytes));
      }
      sources_.push_back(view.data());
    }
    CheckCount(items, count);
  }

  static void CheckCount(nb::handle items, size_t count) {
    const auto size =
        static_cast<size_t>(PySequence_Fast_GET_SIZE(items.ptr()));
    if (size == count) return;
    Raise(KVF_INVALID_ARGUMENT, "blocks: " + std::to_string(size) + " for " +
                                    std::to_string(count) +
                                    " keys, must be as many");
  }

  std::deque<ReadBytes> views_;  // which do not move
  std::vector<const void*> sources_;
};

uint32_t Publish(const Client& client, const Buffer& keys, nb::handle blocks,
                 int64_t group, const std::optional<Buffer>& parent,
                 std::optional<double> timeout) {
  const ClientRef handle = client.handle();
  const uint32_t group_index = Uint32(group, "group");
  const GroupSpec& spec = client.group(group_index);
  const KeysView view(keys);
  const ParentKey parent_key(parent);
  const SourcesView sources(blocks, view.size(), spec);
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  uint32_t visible = 0;
  kvf_status status;
  {
    const GilRelease release;
    status =
        kvf_publish(handle->get(), group_index, parent_key.get(), view.data(),
                    sources.data(), view.size(), timeout_ns, &visible);
  }
  Check(status);
  return visible;
}

}  // namespace

void BindClientPublish(nb::class_<Client>& client) {
  client
      .def("open_publication", &OpenPublication, nb::kw_only(),
           nb::arg("engine_instance") = 0, nb::arg("publication") = 0,
           nb::arg("slice_first") = 0, nb::arg("slice_count") = 0,
           nb::arg("stall_timeout") = 30.0, nb::arg("standby") = true,
           nb::arg("residence") = "host",
           "Blocks to write. Ranks that write slices of the same blocks give\n"
           "the same engine_instance and publication. `residence` \"gpu\" has\n"
           "them in the pool of the client's Gpu where there is room.")
      .def("publish", &Publish, nb::arg("keys"), nb::arg("blocks"),
           nb::kw_only(), nb::arg("group") = 0, nb::arg("parent") = nb::none(),
           nb::arg("timeout").none() = 5.0,
           "Copies whole blocks in and commits them: a buffer a key, or one\n"
           "buffer with all of them. How many are visible.");
}

}  // namespace kvferry::python
