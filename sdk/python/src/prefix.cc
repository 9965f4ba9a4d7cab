#include "sdk/python/src/prefix.h"

#include <nanobind/stl/string.h>

#include <utility>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/residence.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

constexpr char kWhat[] = "prefix";

}  // namespace

Pins::Pins(ClientRef client) : client_(std::move(client)) {
  python::Check(kvf_prefix_create(&prefix_));
}

Pins::~Pins() {
  const GilRelease release(many() && GilHeld());
  kvf_prefix_destroy(prefix_);
}

bool Pins::many() const { return key_count_ > kKeysWithGilMax; }

void Pins::Match(const ClientRef& client, const kvf_group_keys* groups,
                 size_t group_count, size_t key_count) {
  kvf_status status;
  {
    const GilRelease release(key_count > kKeysWithGilMax || many());
    status = kvf_match(client->get(), groups, group_count, prefix_);
  }
  // Only now: what was held may have been another client's.
  client_ = client;
  key_count_ = key_count;
  python::Check(status);
}

void Pins::Release() {
  const GilRelease release(many());
  kvf_prefix_release(prefix_);
  key_count_ = 0;
}

void Prefix::Match(const ClientRef& client, const kvf_group_keys* groups,
                   size_t group_count, size_t key_count) {
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ != nullptr && pins_->views() > 0) ReleaseInUse();
  if (pins_ == nullptr) pins_ = std::make_shared<Pins>(client);
  pins_->Match(client, groups, group_count, key_count);
}

uint64_t Prefix::tokens() {
  const ExclusiveUse use(exclusive_, kWhat);
  return pins_ == nullptr ? 0 : kvf_prefix_tokens(pins_->get());
}

uint32_t Prefix::first_block(int64_t group) {
  const uint32_t group_index = Uint32(group, "group");
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ == nullptr) return 0;
  return kvf_prefix_first_block(pins_->get(), group_index);
}

uint32_t Prefix::block_count(int64_t group) {
  const uint32_t group_index = Uint32(group, "group");
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ == nullptr) return 0;
  return kvf_prefix_block_count(pins_->get(), group_index);
}

const char* Prefix::residence(int64_t position, int64_t group) {
  const uint32_t block = Uint32(position, "position");
  const uint32_t group_index = Uint32(group, "group");
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ == nullptr) return ResidenceName(KVF_RESIDENCE_NONE);
  return ResidenceName(kvf_prefix_residence(pins_->get(), block, group_index));
}

PageView Prefix::page(int64_t position, int64_t slice, int64_t group) {
  const uint32_t block = Uint32(position, "position");
  const uint32_t slice_index = Uint32(slice, "slice");
  const uint32_t group_index = Uint32(group, "group");
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ == nullptr) {
    Raise(KVF_OUT_OF_RANGE,
          "position: " + std::to_string(block) + ", the prefix is empty");
  }
  kvf_bytes bytes{};
  python::Check(
      kvf_prefix_page(pins_->get(), block, slice_index, group_index, &bytes));
  return PageView(pins_, const_cast<void*>(bytes.data), bytes.length,
                  /*read_only=*/true);
}

void Prefix::Check() {
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ != nullptr) python::Check(kvf_prefix_check(pins_->get()));
}

void Prefix::CopyTo(const PagedMemory& paged, const Buffer& engine_blocks,
                    int64_t group, int64_t first, int64_t last_tokens) {
  const EngineBlocksView blocks(engine_blocks);
  const uint32_t group_index = Uint32(group, "group");
  const uint32_t first_block = Uint32(first, "first");
  const uint32_t tail = Uint32(last_tokens, "last_tokens");
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ == nullptr) {
    Raise(KVF_INVALID_ARGUMENT,
          "first: " + std::to_string(first_block) + ", the prefix is empty");
  }
  kvf_status status;
  {
    const GilRelease release;
    status =
        kvf_prefix_copy_to(pins_->get(), group_index, first_block,
                           blocks.size(), paged.get(), blocks.data(), tail);
  }
  python::Check(status);
}

const Pins& Prefix::FilledInUse() const {
  if (pins_ == nullptr) Raise(KVF_INVALID_ARGUMENT, "prefix: empty");
  return *pins_;
}

void Prefix::CheckNoViewsInUse() const {
  if (pins_->views() == 0) return;
  Raise(KVF_FAILED_PRECONDITION,
        "prefix: " + std::to_string(pins_->views()) +
            " views of its pages are alive, which keep the pins; there must "
            "be none");
}

size_t Prefix::views() {
  const ExclusiveUse use(exclusive_, kWhat);
  size_t count = pins_ == nullptr ? 0 : pins_->views();
  for (const std::weak_ptr<Pins>& deferred : deferred_) {
    if (const std::shared_ptr<Pins> pins = deferred.lock()) {
      count += pins->views();
    }
  }
  return count;
}

void Prefix::Release() {
  if (exclusive_.forked()) return;  // the parent's pins
  const ExclusiveUse use(exclusive_, kWhat);
  if (pins_ != nullptr) ReleaseInUse();
}

void Prefix::ReleaseInUse() {
  if (pins_->views() == 0) {
    pins_->Release();
    return;
  }
  std::erase_if(deferred_, [](const auto& pins) { return pins.expired(); });
  deferred_.push_back(pins_);
  pins_.reset();
}

std::string Prefix::Repr() {
  return "<kvferry.Prefix of " + std::to_string(tokens()) + " tokens, " +
         std::to_string(views()) + " views>";
}

void BindPrefix(nb::module_& module) {
  nb::class_<Prefix> prefix(
      module, "Prefix",
      "The pins of a hit; empty when nothing hit. `with` releases them.");
  prefix.def_prop_ro("tokens", &Prefix::tokens)
      .def("__bool__", [](Prefix& self) { return self.tokens() > 0; })
      .def("first_block", &Prefix::first_block, nb::arg("group") = 0)
      .def("block_count", &Prefix::block_count, nb::arg("group") = 0,
           "Pinned blocks are positions [first_block, first_block +\n"
           "block_count) of the group's keys.")
      .def("residence", &Prefix::residence, nb::arg("position"),
           nb::arg("group") = 0,
           "Where a pinned block lies: \"host\", \"gpu\"; \"none\" for one\n"
           "that is not pinned.")
      .def("page", &Prefix::page, nb::arg("position"), nb::arg("slice") = 0,
           nb::arg("group") = 0, "One page, read-only.")
      .def("check", &Prefix::Check,
           "Raises Aborted when what was read so far cannot be trusted.")
      .def("copy_to", &Prefix::CopyTo, nb::arg("paged"),
           nb::arg("engine_blocks"), nb::kw_only(), nb::arg("group") = 0,
           nb::arg("first") = 0, nb::arg("last_tokens") = 0,
           "Copies blocks [first, first + n) into the engine's blocks (-1:\n"
           "skipped), then checks.")
      .def_prop_ro("views", &Prefix::views)
      .def("release", &Prefix::Release,
           "Gives the pins back, or has the last live view do it.")
      .def("__enter__", [](nb::handle self) { return nb::borrow(self); })
      .def(
          "__exit__",
          [](Prefix& self, nb::handle, nb::handle, nb::handle) {
            self.Release();
          },
          nb::arg("kind").none(), nb::arg("error").none(),
          nb::arg("trace").none())
      .def("__repr__", &Prefix::Repr);
  RefusePickle(prefix, "kvferry.Prefix", "match by the keys there");
}

}  // namespace kvferry::python
