#include "sdk/python/src/stream.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <utility>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/wait_steps.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

constexpr char kWhat[] = "stream";
constexpr size_t kHandOverBytesMax = 4096;

}  // namespace

StreamHandle::~StreamHandle() {
  const GilRelease release(GilHeld());
  kvf_stream_destroy(stream_);
}

kvf_stream* Stream::get() const {
  if (handle_ == nullptr) {
    Raise(KVF_FAILED_PRECONDITION, "stream: released");
  }
  return handle_->get();
}

void Stream::CheckNoViewsInUse() const {
  if (handle_->views() == 0) return;
  Raise(KVF_FAILED_PRECONDITION,
        "stream: " + std::to_string(handle_->views()) +
            " views of its pages are alive, which keep the pins; there must "
            "be none");
}

kvf_stream_state Stream::StateInUse() const {
  kvf_stream_state state{};
  state.size = sizeof(state);
  state.done = 1;
  if (handle_ != nullptr) {
    python::Check(kvf_stream_get_state(handle_->get(), &state));
  }
  return state;
}

kvf_stream_state Stream::state() {
  const ExclusiveUse use(exclusive_, kWhat);
  return StateInUse();
}

void Stream::Check() {
  const ExclusiveUse use(exclusive_, kWhat);
  if (handle_ != nullptr) python::Check(kvf_stream_status(handle_->get()));
}

std::optional<PageView> Stream::page(int64_t block, int64_t slice) {
  const uint32_t position = Uint32(block, "block");
  const uint32_t slice_index = Uint32(slice, "slice");
  const ExclusiveUse use(exclusive_, kWhat);
  if (handle_ == nullptr) return std::nullopt;
  kvf_bytes bytes{};
  python::Check(kvf_stream_page(handle_->get(), position, slice_index, &bytes));
  if (bytes.data == nullptr) return std::nullopt;
  return std::optional<PageView>(std::in_place, handle_,
                                 const_cast<void*>(bytes.data), bytes.length,
                                 /*read_only=*/true);
}

bool Stream::Poll() {
  const ExclusiveUse use(exclusive_, kWhat);
  if (handle_ == nullptr) return false;
  const GilRelease release;
  return kvf_stream_poll(handle_->get()) != 0;
}

template <typename Wait>
void Stream::WaitInSteps(std::optional<double> timeout, const Wait& wait) {
  const ExclusiveUse use(exclusive_, kWhat);
  kvf_stream* const stream = get();
  python::Check(python::WaitInSteps(
      timeout, [&](int64_t ns) { return wait(stream, ns); }));
}

void Stream::WaitChunk(int64_t blocks, std::optional<double> timeout) {
  const uint32_t block_count = Uint32(blocks, "blocks");
  WaitInSteps(timeout, [&](kvf_stream* stream, int64_t ns) {
    return kvf_stream_wait_chunk(stream, block_count, ns);
  });
}

void Stream::WaitLayer(int64_t blocks, int64_t layers,
                       std::optional<double> timeout) {
  const uint32_t block_count = Uint32(blocks, "blocks");
  const uint32_t layer_count = Uint32(layers, "layers");
  WaitInSteps(timeout, [&](kvf_stream* stream, int64_t ns) {
    return kvf_stream_wait_layer(stream, block_count, layer_count, ns);
  });
}

void Stream::WaitCommitted(std::optional<double> timeout) {
  WaitInSteps(timeout, kvf_stream_wait_committed);
}

void Stream::WaitChange(std::optional<double> timeout) {
  WaitInSteps(timeout, kvf_stream_wait_change);
}

int Stream::event_fd() {
  const ExclusiveUse use(exclusive_, kWhat);
  kvf_stream* const stream = get();
  int fd = -1;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_stream_event_fd(stream, &fd);
  }
  python::Check(status);
  return fd;
}

uint32_t Stream::Confirm(int64_t blocks) {
  const uint32_t block_count = Uint32(blocks, "blocks");
  const ExclusiveUse use(exclusive_, kWhat);
  if (handle_ == nullptr) return 0;
  const GilRelease release(block_count > kKeysWithGilMax);
  return kvf_stream_confirm(handle_->get(), block_count);
}

void Stream::PullTo(const PagedMemory& paged, const Buffer& engine_blocks,
                    std::optional<double> timeout, int64_t slice_first,
                    int64_t slice_count, bool whole_blocks) {
  const EngineBlocksView blocks(engine_blocks);
  kvf_pull_options options{};
  options.size = sizeof(options);
  options.slice_first = Uint32(slice_first, "slice_first");
  options.slice_count = Uint32(slice_count, "slice_count");
  options.whole_blocks = whole_blocks ? 1 : 0;
  const uint32_t key_count = state().key_count;
  if (blocks.size() != key_count) {
    Raise(KVF_INVALID_ARGUMENT,
          "engine_blocks: " + std::to_string(blocks.size()) +
              ", the stream has " + std::to_string(key_count) +
              " keys; must be as many");
  }
  WaitInSteps(timeout, [&](kvf_stream* stream, int64_t ns) {
    return kvf_stream_pull_to_paged(stream, &options, paged.get(),
                                    blocks.data(), ns);
  });
}

nb::bytes Stream::hand_over() {
  const ExclusiveUse use(exclusive_, kWhat);
  char data[kHandOverBytesMax];
  size_t length = 0;
  python::Check(kvf_stream_hand_over(get(), data, sizeof(data), &length));
  return nb::bytes(data, length);
}

void Stream::Release() {
  if (exclusive_.forked()) return;  // the parent's pins
  const ExclusiveUse use(exclusive_, kWhat);
  handle_.reset();
}

std::string Stream::Repr() {
  const kvf_stream_state now = state();
  return "<kvferry.Stream, " + std::to_string(now.ok_blocks) + " of " +
         std::to_string(now.key_count) + " blocks" +
         (now.done != 0 ? ", done>" : ">");
}

void BindStream(nb::module_& module) {
  nb::class_<Stream> stream(
      module, "Stream",
      "A prompt's blocks while they are being written. `with` releases it.");
  stream.def_prop_ro("ok_blocks", [](Stream& s) { return s.state().ok_blocks; })
      .def_prop_ro("ok_tokens", [](Stream& s) { return s.state().ok_tokens; })
      .def_prop_ro("layered_end",
                   [](Stream& s) { return s.state().layered_end; })
      .def_prop_ro("ok_layers", [](Stream& s) { return s.state().ok_layers; })
      .def_prop_ro("block_count",
                   [](Stream& s) { return s.state().block_count; })
      .def_prop_ro("key_count", [](Stream& s) { return s.state().key_count; })
      .def_prop_ro("copied_blocks",
                   [](Stream& s) { return s.state().copied_blocks; })
      .def_prop_ro("copied_layers",
                   [](Stream& s) { return s.state().copied_layers; })
      .def_prop_ro("done", [](Stream& s) { return s.state().done != 0; })
      .def("check", &Stream::Check,
           "Raises what keeps the stream from going on.")
      .def("page", &Stream::page, nb::arg("block"), nb::arg("slice") = 0,
           "A page of a block that has a place, read-only; None without.")
      .def("poll", &Stream::Poll, "Looks once; whether anything changed.")
      .def("wait_chunk", &Stream::WaitChunk, nb::arg("blocks"),
           nb::arg("timeout").none(),
           "Waits until `blocks` leading blocks are whole.")
      .def("wait_layer", &Stream::WaitLayer, nb::arg("blocks"),
           nb::arg("layers"), nb::arg("timeout").none(),
           "Waits until they have their first `layers` layers.")
      .def("wait_committed", &Stream::WaitCommitted, nb::arg("timeout").none(),
           "Waits until a plain match hits all keys.")
      .def("wait_change", &Stream::WaitChange, nb::arg("timeout").none(),
           "Waits until anything changes, or the stream is done.")
      .def("event_fd", &Stream::event_fd,
           "A descriptor that is readable when something may have changed;\n"
           "the stream's own.")
      .def("confirm", &Stream::Confirm, nb::arg("blocks"),
           "Of the first `blocks` blocks, how many may be used.")
      .def("pull_to", &Stream::PullTo, nb::arg("paged"),
           nb::arg("engine_blocks"), nb::kw_only(), nb::arg("timeout").none(),
           nb::arg("slice_first") = 0, nb::arg("slice_count") = 0,
           nb::arg("whole_blocks") = false,
           "Copies blocks into the engine's as they come, one engine block a\n"
           "key (-1: skipped), until all are there or the stream fails.")
      .def("hand_over", &Stream::hand_over,
           "What the publisher set to go along.")
      .def("release", &Stream::Release,
           "Gives the pins back, or has the last live view do it.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](Stream& self, nb::handle, nb::handle, nb::handle) {
            self.Release();
          },
          nb::arg("kind").none(), nb::arg("error").none(),
          nb::arg("trace").none())
      .def("__repr__", &Stream::Repr);
  RefusePickle(stream, "kvferry.Stream", "stream by the keys there");
}

namespace {

nb::object OpenStream(const Client& client, const Buffer& keys, int64_t group,
                      int64_t tail_tokens, bool include_in_flight,
                      std::optional<std::pair<uint32_t, uint32_t>> hint) {
  const ClientRef handle = client.handle();
  const KeysView view(keys);
  kvf_stream_options options{};
  options.size = sizeof(options);
  if (!include_in_flight) options.flags |= KVF_STREAM_READY_ONLY;
  options.group = Uint32(group, "group");
  options.tail_tokens = Uint32(tail_tokens, "tail_tokens");
  if (hint.has_value()) {
    options.hint_slot = hint->first;
    options.hint_generation = hint->second;
  }
  kvf_stream* created = nullptr;
  Check(kvf_stream_create(&created));
  auto owner = std::make_shared<StreamHandle>(handle, created);
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_match_stream(handle->get(), view.data(), view.size(), &options,
                              created);
  }
  Check(status);
  nb::object object = nb::inst_alloc(nb::type<Stream>());
  new (nb::inst_ptr<Stream>(object)) Stream(std::move(owner), options.group);
  nb::inst_mark_ready(object);
  return object;
}

}  // namespace

void BindClientStream(nb::class_<Client>& client) {
  client.def("stream", &OpenStream, nb::arg("keys"), nb::kw_only(),
             nb::arg("group") = 0, nb::arg("tail_tokens") = 0,
             nb::arg("include_in_flight") = true, nb::arg("hint") = nb::none(),
             "Blocks that are ready and those that are being written. `hint`\n"
             "is a ticket's: keys that are not begun yet are waited for.");
}

}  // namespace kvferry::python
