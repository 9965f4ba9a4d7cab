#include "sdk/python/src/publication.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <iterator>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/residence.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

constexpr char kWhat[] = "publication";

// By kvf_block_outcome.
constexpr const char* kOutcomes[] = {"writing",   "committed", "exists",
                                     "in_flight", "no_space",  "void",
                                     "standby"};

}  // namespace

PublicationHandle::~PublicationHandle() {
  const GilRelease release(GilHeld());
  kvf_publication_destroy(publication_);
}

Publication::~Publication() {
  if (ended_) return;
  const GilRelease release(GilHeld());
  kvf_publication_abort(handle_->get());
}

uint32_t Publication::Begin(const Buffer& keys, int64_t group,
                            const std::optional<Buffer>& parent,
                            int64_t tail_tokens,
                            std::optional<double> timeout) {
  const KeysView view(keys);
  const ParentKey parent_key(parent);
  const uint32_t group_index = Uint32(group, "group");
  const uint32_t tail = Uint32(tail_tokens, "tail_tokens");
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  const ExclusiveUse use(exclusive_, kWhat);
  uint32_t first = 0;
  kvf_status status;
  {
    const GilRelease release;
    status =
        kvf_publication_begin(get(), group_index, parent_key.get(), view.data(),
                              view.size(), tail, timeout_ns, &first);
  }
  Check(status);
  return first;
}

uint32_t Publication::size() {
  const ExclusiveUse use(exclusive_, kWhat);
  return kvf_publication_size(get());
}

const char* Publication::outcome(int64_t position) {
  const uint32_t block = Uint32(position, "position");
  const ExclusiveUse use(exclusive_, kWhat);
  uint8_t outcome = 0;
  Check(kvf_publication_outcomes(get(), block, 1, &outcome));
  return outcome < std::size(kOutcomes) ? kOutcomes[outcome] : "unknown";
}

nb::bytes Publication::outcomes(int64_t first, int64_t count) {
  const uint32_t block = Uint32(first, "first");
  const uint32_t block_count = Uint32(count, "count");
  const ExclusiveUse use(exclusive_, kWhat);
  // Before there is room for so many: a count can be anything.
  const uint32_t size = kvf_publication_size(get());
  if (block > size || block_count > size - block) {
    Raise(KVF_OUT_OF_RANGE, "outcomes: " + std::to_string(block_count) +
                                " from " + std::to_string(block) +
                                ", the publication has " +
                                std::to_string(size));
  }
  PyObject* const bytes = PyBytes_FromStringAndSize(nullptr, block_count);
  if (bytes == nullptr) throw nb::python_error();
  nb::bytes result = nb::steal<nb::bytes>(bytes);
  uint8_t* const out = reinterpret_cast<uint8_t*>(PyBytes_AS_STRING(bytes));
  kvf_status status;
  {
    const GilRelease release(block_count > kKeysWithGilMax);
    status = kvf_publication_outcomes(get(), block, block_count, out);
  }
  Check(status);
  return result;
}

const char* Publication::residence(int64_t position) {
  const uint32_t block = Uint32(position, "position");
  const ExclusiveUse use(exclusive_, kWhat);
  return ResidenceName(kvf_publication_residence(get(), block));
}

std::optional<PageView> Publication::page(int64_t position, int64_t slice) {
  const uint32_t block = Uint32(position, "position");
  const uint32_t slice_index = Uint32(slice, "slice");
  const ExclusiveUse use(exclusive_, kWhat);
  void* data = nullptr;
  size_t bytes = 0;
  Check(kvf_publication_page(get(), block, slice_index, &data, &bytes));
  if (data == nullptr) return std::nullopt;
  return std::optional<PageView>(std::in_place, handle_, data, bytes,
                                 /*read_only=*/false);
}

uint32_t Publication::Fill(int64_t first, const PagedMemory& paged,
                           const Buffer& engine_blocks, int64_t last_tokens) {
  const EngineBlocksView blocks(engine_blocks);
  const uint32_t block = Uint32(first, "first");
  const uint32_t tail = Uint32(last_tokens, "last_tokens");
  const ExclusiveUse use(exclusive_, kWhat);
  uint32_t filled = 0;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_publication_fill(get(), block, blocks.size(), paged.get(),
                                  blocks.data(), tail, &filled);
  }
  Check(status);
  return filled;
}

void Publication::CommitLayers(int64_t first, int64_t count, int64_t layers) {
  const uint32_t block = Uint32(first, "first");
  const uint32_t block_count = Uint32(count, "count");
  const uint32_t layer_count = Uint32(layers, "layers");
  const ExclusiveUse use(exclusive_, kWhat);
  Check(kvf_publication_commit_layers(get(), block, block_count, layer_count));
}

void Publication::Commit(int64_t first, int64_t count) {
  const uint32_t block = Uint32(first, "first");
  const uint32_t block_count = Uint32(count, "count");
  const ExclusiveUse use(exclusive_, kWhat);
  kvf_status status;
  {
    const GilRelease release(block_count > kKeysWithGilMax);
    status = kvf_publication_commit(get(), block, block_count);
  }
  Check(status);
}

void Publication::CommitAndWait(int64_t first, int64_t count,
                                std::optional<double> timeout) {
  const uint32_t block = Uint32(first, "first");
  const uint32_t block_count = Uint32(count, "count");
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  const ExclusiveUse use(exclusive_, kWhat);
  kvf_status status;
  {
    const GilRelease release;
    status =
        kvf_publication_commit_and_wait(get(), block, block_count, timeout_ns);
  }
  Check(status);
}

void Publication::SetHandOver(const Buffer& data) {
  const ReadBytes bytes(data, "data");
  const ExclusiveUse use(exclusive_, kWhat);
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_publication_set_hand_over(get(), bytes.as_bytes());
  }
  Check(status);
}

void Publication::Abort() {
  if (exclusive_.forked()) return;  // the parent's blocks
  const ExclusiveUse use(exclusive_, kWhat);
  ended_ = true;
  const GilRelease release;
  kvf_publication_abort(get());
}

void Publication::Close(std::optional<double> timeout) {
  const int64_t timeout_ns = TimeoutNs(timeout, "timeout");
  const ExclusiveUse use(exclusive_, kWhat);
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_publication_close(get(), timeout_ns);
  }
  Check(status);
  ended_ = true;
}

std::string Publication::Repr() {
  return "<kvferry.Publication of " + std::to_string(size()) + " blocks" +
         (ended_ ? ", ended>" : ">");
}

void BindPublication(nb::module_& module) {
  constexpr double kTimeout = 5.0;
  nb::class_<Publication> publication(module, "Publication",
                                      "Blocks that this process writes. `with` "
                                      "closes it, or aborts it when an\n"
                                      "exception leaves the block.");
  publication
      .def("begin", &Publication::Begin, nb::arg("keys"), nb::kw_only(),
           nb::arg("group") = 0, nb::arg("parent") = nb::none(),
           nb::arg("tail_tokens") = 0, nb::arg("timeout").none() = kTimeout,
           "Appends blocks, chained after `parent`; the first's position.")
      .def("__len__", &Publication::size)
      .def("outcome", &Publication::outcome, nb::arg("position"),
           "What became of a block: one of kvferry.OUTCOMES.")
      .def("outcomes", &Publication::outcomes, nb::arg("first"),
           nb::arg("count"),
           "One byte a block, an index into kvferry.OUTCOMES.")
      .def("page", &Publication::page, nb::arg("position"),
           nb::arg("slice") = 0,
           "A page to fill; None when there is nothing to write, or it is in\n"
           "a GPU.")
      .def("residence", &Publication::residence, nb::arg("position"),
           "Where a block that is to be written lies: \"host\", \"gpu\";\n"
           "\"none\" for others.")
      .def("fill", &Publication::Fill, nb::arg("first"), nb::arg("paged"),
           nb::arg("engine_blocks"), nb::kw_only(), nb::arg("last_tokens") = 0,
           "Fills the pages of [first, first + n) that are to be written from\n"
           "the engine's blocks (-1: skipped); how many blocks were.")
      .def("commit_layers", &Publication::CommitLayers, nb::arg("first"),
           nb::arg("count"), nb::arg("layers"),
           "Says that the first `layers` layers of the next chunk are written.")
      .def("commit", &Publication::Commit, nb::arg("first"), nb::arg("count"),
           "Says that [first, first + count) are written. Does not wait.")
      .def("commit_and_wait", &Publication::CommitAndWait, nb::arg("first"),
           nb::arg("count"), nb::arg("timeout").none() = kTimeout,
           "The same; when it returns, they are visible to everybody.")
      .def("set_hand_over", &Publication::SetHandOver, nb::arg("data"),
           "Bytes that go along with the blocks, at the next commit.")
      .def("abort", &Publication::Abort,
           "Gives up what is not committed; its pages must not be touched.")
      .def("close", &Publication::Close, nb::arg("timeout").none() = kTimeout,
           "Waits until every commit is answered, and ends it.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [kTimeout](Publication& self, nb::handle kind, nb::handle,
                     nb::handle) {
            if (kind.is_none()) {
              self.Close(kTimeout);
            } else {
              self.Abort();
            }
          },
          nb::arg("kind").none(), nb::arg("error").none(),
          nb::arg("trace").none())
      .def("__repr__", &Publication::Repr);
  RefusePickle(publication, "kvferry.Publication",
               "open one in the other process, with the same engine_instance");
}

}  // namespace kvferry::python
