#include "sdk/python/src/keys.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <cstddef>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "sdk/python/src/buffers.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/exclusive.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// kvferry.Hasher
class Hasher {
 public:
  Hasher(kvf_hasher* hasher, uint32_t group, uint32_t block_tokens)
      : hasher_(hasher), group_(group), block_tokens_(block_tokens) {}
  ~Hasher() { kvf_hasher_destroy(hasher_); }
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;

  nb::bytes HashBlocks(const Buffer& tokens,
                       const std::optional<Buffer>& parent,
                       const Buffer& extra) {
    TokensView view(tokens);
    const ParentKey parent_key(parent);
    const ReadBytes extra_bytes(extra, "extra");
    const size_t count = view.size() / block_tokens_;
    nb::bytes keys = NewKeys(count);
    kvf_key* const out = KeysOf(keys);
    const ExclusiveUse use(exclusive_, "hasher");
    bool converted;
    kvf_status status = KVF_OK;
    {
      const GilRelease release(count > kKeysWithGilMax);
      converted = view.Convert();
      if (converted) {
        size_t written = 0;
        status = kvf_hasher_hash_blocks(hasher_, parent_key.get(), view.data(),
                                        view.size(), extra_bytes.as_bytes(),
                                        out, count, &written);
      }
    }
    if (!converted) view.RaiseWrong();
    Check(status);
    return keys;
  }

  nb::bytes HashBlock(const Buffer& tokens, const std::optional<Buffer>& parent,
                      const Buffer& extra) {
    TokensView view(tokens);
    const ParentKey parent_key(parent);
    const ReadBytes extra_bytes(extra, "extra");
    nb::bytes key = NewKeys(1);
    const ExclusiveUse use(exclusive_, "hasher");
    if (!view.Convert()) view.RaiseWrong();
    Check(kvf_hasher_hash_block(hasher_, parent_key.get(), view.data(),
                                view.size(), extra_bytes.as_bytes(),
                                KeysOf(key)));
    return key;
  }

  std::string Repr() const {
    return "<kvferry.Hasher of group " + std::to_string(group_) + ", " +
           std::to_string(block_tokens_) + " tokens a block>";
  }

  // Room for so many keys, to be filled before anybody else sees it.
  static nb::bytes NewKeys(size_t count) {
    PyObject* const bytes = PyBytes_FromStringAndSize(
        nullptr, static_cast<Py_ssize_t>(count * sizeof(kvf_key)));
    if (bytes == nullptr) throw nb::python_error();
    return nb::steal<nb::bytes>(bytes);
  }
  static kvf_key* KeysOf(const nb::bytes& bytes) {
    return reinterpret_cast<kvf_key*>(PyBytes_AS_STRING(bytes.ptr()));
  }

 private:
  Exclusive exclusive_;
  kvf_hasher* const hasher_;
  const uint32_t group_;
  const uint32_t block_tokens_;
};

constexpr size_t kSaltBytes = 32;

void ConstructHasher(Hasher* self, const Buffer& salt, int64_t group,
                     int64_t block_tokens) {
  const ReadBytes bytes(salt, "salt");
  if (bytes.bytes() != kSaltBytes) {
    Raise(KVF_INVALID_ARGUMENT, "salt: " + std::to_string(bytes.bytes()) +
                                    " bytes, must be " +
                                    std::to_string(kSaltBytes));
  }
  const uint32_t block_size = Uint32(block_tokens, "block_tokens");
  if (block_size == 0) {
    Raise(KVF_INVALID_ARGUMENT, "block_tokens: 0, must be 1 or more");
  }
  const uint32_t group_index = Uint32(group, "group");
  kvf_hasher* hasher = nullptr;
  Check(kvf_hasher_create_for(static_cast<const uint8_t*>(bytes.data()),
                              group_index, block_size, &hasher));
  new (self) Hasher(hasher, group_index, block_size);
}

nb::object HasherOf(const Client& client, int64_t group) {
  const ClientRef handle = client.handle();
  const uint32_t group_index = Uint32(group, "group");
  const uint32_t block_tokens = client.group(group_index).block_tokens;
  kvf_hasher* hasher = nullptr;
  Check(kvf_hasher_create(handle->get(), group_index, &hasher));
  nb::object object = nb::inst_alloc(nb::type<Hasher>());
  new (nb::inst_ptr<Hasher>(object)) Hasher(hasher, group_index, block_tokens);
  nb::inst_mark_ready(object);
  return object;
}

// Keys of `count` digests that lie packed.
nb::bytes KeysOfPacked(const Client& client, const void* digests,
                       size_t digest_size, size_t stride, size_t count,
                       uint32_t group, bool cryptographic) {
  const ClientRef handle = client.handle();
  (void)client.group(group);
  kvf_namespace_info info{};
  info.size = sizeof(info);
  Check(kvf_client_info(handle->get(), &info));
  nb::bytes keys = Hasher::NewKeys(count);
  kvf_key* const out = Hasher::KeysOf(keys);
  kvf_status status;
  {
    const GilRelease release(count > kKeysWithGilMax);
    status = kvf_keys_from_digests(
        info.salt, group,
        cryptographic ? KVF_DIGEST_CRYPTOGRAPHIC : KVF_DIGEST_OTHER, digests,
        digest_size, stride, count, out);
  }
  Check(status);
  return keys;
}

// A list as engines have it, one object a digest: read in one pass, the next
// ones on their way from memory meanwhile.
std::vector<std::byte> PackDigests(const nb::list& digests, size_t size) {
  // Objects that are fetched ahead, and handled before others have a turn.
  constexpr size_t kAhead = 12;
  constexpr size_t kObjectsATurn = 2048;
  const size_t count = nb::len(digests);
  std::vector<std::byte> packed(count * size);
  for (size_t i = 0; i < count; ++i) {
    if (i % kObjectsATurn == kObjectsATurn - 1) YieldGil();
    if (i >= static_cast<size_t>(PyList_GET_SIZE(digests.ptr()))) {
      Raise(KVF_INVALID_ARGUMENT, "digests: the list became shorter meanwhile");
    }
    if (i + kAhead < static_cast<size_t>(PyList_GET_SIZE(digests.ptr()))) {
      __builtin_prefetch(PyList_GET_ITEM(digests.ptr(), i + kAhead));
    }
    PyObject* const digest = PyList_GET_ITEM(digests.ptr(), i);
    if (!PyBytes_Check(digest)) {
      throw nb::type_error("digests: a list must have bytes in it");
    }
    if (static_cast<size_t>(PyBytes_GET_SIZE(digest)) != size) {
      Raise(KVF_INVALID_ARGUMENT,
            "digests: number " + std::to_string(i) + " has " +
                std::to_string(PyBytes_GET_SIZE(digest)) +
                " bytes, digest_size is " + std::to_string(size));
    }
    std::memcpy(packed.data() + i * size, PyBytes_AS_STRING(digest), size);
  }
  return packed;
}

nb::bytes KeysFromDigests(const Client& client, const nb::object& digests,
                          int64_t digest_size, int64_t group,
                          bool cryptographic, int64_t stride) {
  const uint32_t group_index = Uint32(group, "group");
  const size_t size = Uint64(digest_size, "digest_size");
  const size_t step = stride == 0 ? size : Uint64(stride, "stride");
  if (size == 0 || step < size) {
    Raise(KVF_INVALID_ARGUMENT, "stride: " + std::to_string(step) +
                                    ", digest_size is " + std::to_string(size) +
                                    "; must be at least that, and not 0");
  }
  if (nb::isinstance<nb::list>(digests)) {
    const std::vector<std::byte> packed =
        PackDigests(nb::borrow<nb::list>(digests), size);
    return KeysOfPacked(client, packed.data(), size, size, packed.size() / size,
                        group_index, cryptographic);
  }
  if (!PyObject_CheckBuffer(digests.ptr())) {
    throw nb::type_error("digests: must be a buffer or a list of bytes");
  }
  const ReadBytes bytes(digests, "digests");
  // The last one needs no bytes behind it.
  const size_t count =
      bytes.bytes() < size ? 0 : (bytes.bytes() - size) / step + 1;
  const size_t rest = bytes.bytes() - (count == 0 ? 0 : count * step - step);
  if (rest != 0 && rest != size && rest != step) {
    Raise(KVF_INVALID_ARGUMENT, "digests: " + std::to_string(bytes.bytes()) +
                                    " bytes, no whole number of digests " +
                                    std::to_string(step) + " bytes apart");
  }
  return KeysOfPacked(client, bytes.data(), size, step, count, group_index,
                      cryptographic);
}

}  // namespace

void BindHasher(nb::module_& module) {
  nb::class_<Hasher> hasher(module, "Hasher",
                            "Makes the chained keys of a group's blocks.");
  hasher
      .def("__init__", &ConstructHasher, nb::arg("salt"), nb::arg("group"),
           nb::arg("block_tokens"))
      .def("hash_blocks", &Hasher::HashBlocks, nb::arg("tokens"), nb::kw_only(),
           nb::arg("parent") = nb::none(), nb::arg("extra") = nb::bytes("", 0),
           "Packed keys of the full blocks of `tokens`, chained after\n"
           "`parent`; tokens of an incomplete last block are left out.")
      .def("hash_block", &Hasher::HashBlock, nb::arg("tokens"), nb::kw_only(),
           nb::arg("parent") = nb::none(), nb::arg("extra") = nb::bytes("", 0),
           "The key of one block, perhaps of a tail with fewer tokens.")
      .def("__repr__", &Hasher::Repr);
  RefusePickle(hasher, "kvferry.Hasher", "make it from salt and group there");
}

void BindClientKeys(nb::class_<Client>& client) {
  client
      .def("hasher", &HasherOf, nb::arg("group") = 0,
           "A Hasher for this namespace.")
      .def("keys_from_digests", &KeysFromDigests, nb::arg("digests"),
           nb::arg("digest_size"), nb::kw_only(), nb::arg("group") = 0,
           nb::arg("cryptographic") = true, nb::arg("stride") = 0,
           "Packed keys of an engine's own chained digests: a buffer of them,\n"
           "or a list of bytes.");
}

}  // namespace kvferry::python
