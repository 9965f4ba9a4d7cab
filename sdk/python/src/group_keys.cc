#include "sdk/python/src/group_keys.h"

#include <string>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/numbers.h"

namespace kvferry::python {

namespace nb = nanobind;

GroupKeysView::GroupKeysView(const Buffer& keys, int64_t group,
                             int64_t tail_tokens) {
  Add(keys, group, tail_tokens);
}

GroupKeysView::GroupKeysView(nb::handle groups) {
  // An own copy: nobody changes it while the GIL is given up.
  const nb::object items = nb::steal(PySequence_Tuple(groups.ptr()));
  if (!items.is_valid()) throw nb::python_error();
  for (const nb::handle item : nb::borrow<nb::tuple>(items)) {
    const nb::object entry = nb::steal(PySequence_Tuple(item.ptr()));
    if (!entry.is_valid()) throw nb::python_error();
    const nb::tuple parts = nb::borrow<nb::tuple>(entry);
    if (parts.size() != 2 && parts.size() != 3) {
      Raise(KVF_INVALID_ARGUMENT,
            "groups: an entry of " + std::to_string(parts.size()) +
                " items, must be (group, keys) or (group, keys, tail_tokens)");
    }
    if (!PyObject_CheckBuffer(parts[1].ptr())) {
      throw nb::type_error("groups: an entry's keys must be a buffer");
    }
    Add(nb::borrow<Buffer>(parts[1]), Integer(parts[0]),
        parts.size() == 3 ? Integer(parts[2]) : 0);
  }
}

void GroupKeysView::Add(const Buffer& keys, int64_t group,
                        int64_t tail_tokens) {
  const uint32_t group_index = Uint32(group, "group");
  const uint32_t tail = Uint32(tail_tokens, "tail_tokens");
  const KeysView& view = views_.emplace_back(keys);
  kvf_group_keys entry{};
  entry.size = sizeof(entry);
  entry.keys = view.data();
  entry.key_count = view.size();
  entry.group = group_index;
  entry.tail_tokens = tail;
  groups_.push_back(entry);
  key_count_ += view.size();
}

}  // namespace kvferry::python
