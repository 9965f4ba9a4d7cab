#ifndef KVFERRY_SDK_PYTHON_SRC_GROUP_SPEC_H_
#define KVFERRY_SDK_PYTHON_SRC_GROUP_SPEC_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kvferry/kvferry.h"

namespace kvferry::python {

// kvf_group_spec that owns its name.
struct GroupSpec {
  std::string name = "full";
  uint32_t block_tokens = 16;
  uint32_t layer_count = 1;
  uint32_t kv_count = 2;
  uint32_t head_count = 1;
  uint32_t head_bytes = 0;
  uint32_t slice_count = 1;
  uint32_t rule = KVF_HIT_ALL_PREFIX;
  uint32_t trailing_blocks = 0;

  uint64_t page_bytes() const {
    return uint64_t{block_tokens} * layer_count * kv_count * head_count *
           head_bytes;
  }
  uint64_t block_bytes() const { return page_bytes() * slice_count; }

  bool operator==(const GroupSpec&) const = default;

  // Its name is this object's.
  kvf_group_spec ToC() const;
  static GroupSpec FromC(const kvf_group_spec& spec);
};

// Their names are those of `specs`.
std::vector<kvf_group_spec> ToC(const std::vector<GroupSpec>& specs);

void BindGroupSpec(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_GROUP_SPEC_H_
