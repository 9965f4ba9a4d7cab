#include "sdk/python/src/group_spec.h"

#include <nanobind/operators.h>
#include <nanobind/stl/string.h>

#include <iterator>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/text.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// By kvf_hit_rule.
constexpr const char* kRules[] = {"all_prefix", "trailing", "checkpoint"};

const char* RuleName(const GroupSpec& spec) {
  return spec.rule < std::size(kRules) ? kRules[spec.rule] : "unknown";
}

void SetRule(GroupSpec& spec, const std::string& name) {
  for (uint32_t rule = 0; rule < std::size(kRules); ++rule) {
    if (name == kRules[rule]) {
      spec.rule = rule;
      return;
    }
  }
  Raise(KVF_INVALID_ARGUMENT,
        "rule: '" + name + "', must be all_prefix, trailing or checkpoint");
}

std::string Repr(const GroupSpec& spec) {
  return "GroupSpec('" + spec.name +
         "', block_tokens=" + std::to_string(spec.block_tokens) +
         ", layer_count=" + std::to_string(spec.layer_count) +
         ", kv_count=" + std::to_string(spec.kv_count) +
         ", head_count=" + std::to_string(spec.head_count) +
         ", head_bytes=" + std::to_string(spec.head_bytes) +
         ", slice_count=" + std::to_string(spec.slice_count) + ", rule='" +
         RuleName(spec) +
         "', trailing_blocks=" + std::to_string(spec.trailing_blocks) + ")";
}

void Construct(GroupSpec* self, const std::string& name, int64_t block_tokens,
               int64_t layer_count, int64_t kv_count, int64_t head_count,
               int64_t head_bytes, int64_t slice_count, const std::string& rule,
               int64_t trailing_blocks) {
  GroupSpec spec;
  spec.name = name;
  spec.block_tokens = Uint32(block_tokens, "block_tokens");
  spec.layer_count = Uint32(layer_count, "layer_count");
  spec.kv_count = Uint32(kv_count, "kv_count");
  spec.head_count = Uint32(head_count, "head_count");
  spec.head_bytes = Uint32(head_bytes, "head_bytes");
  spec.slice_count = Uint32(slice_count, "slice_count");
  SetRule(spec, rule);
  spec.trailing_blocks = Uint32(trailing_blocks, "trailing_blocks");
  new (self) GroupSpec(spec);
}

}  // namespace

kvf_group_spec GroupSpec::ToC() const {
  kvf_group_spec spec{};
  spec.size = sizeof(spec);
  spec.name = CText(name, "group name");
  spec.block_tokens = block_tokens;
  spec.layer_count = layer_count;
  spec.kv_count = kv_count;
  spec.head_count = head_count;
  spec.head_bytes = head_bytes;
  spec.slice_count = slice_count;
  spec.rule = rule;
  spec.trailing_blocks = trailing_blocks;
  return spec;
}

GroupSpec GroupSpec::FromC(const kvf_group_spec& spec) {
  GroupSpec group;
  group.name = spec.name == nullptr ? "" : spec.name;
  group.block_tokens = spec.block_tokens;
  group.layer_count = spec.layer_count;
  group.kv_count = spec.kv_count;
  group.head_count = spec.head_count;
  group.head_bytes = spec.head_bytes;
  group.slice_count = spec.slice_count;
  group.rule = spec.rule;
  group.trailing_blocks = spec.trailing_blocks;
  return group;
}

std::vector<kvf_group_spec> ToC(const std::vector<GroupSpec>& specs) {
  std::vector<kvf_group_spec> result;
  result.reserve(specs.size());
  for (const GroupSpec& spec : specs) result.push_back(spec.ToC());
  return result;
}

void BindGroupSpec(nb::module_& module) {
  nb::class_<GroupSpec> spec(
      module, "GroupSpec",
      "A set of layers with one page size and one hit rule. A page is one\n"
      "slice of one block: [layer][K,V][token][head of the "
      "slice][head_bytes].");
  spec.def("__init__", &Construct, nb::arg("name") = "full", nb::kw_only(),
           nb::arg("block_tokens") = 16, nb::arg("layer_count") = 1,
           nb::arg("kv_count") = 2, nb::arg("head_count") = 1,
           nb::arg("head_bytes"), nb::arg("slice_count") = 1,
           nb::arg("rule") = "all_prefix", nb::arg("trailing_blocks") = 0)
      .def_rw("name", &GroupSpec::name)
      .def_rw("block_tokens", &GroupSpec::block_tokens)
      .def_rw("layer_count", &GroupSpec::layer_count)
      .def_rw("kv_count", &GroupSpec::kv_count)
      .def_rw("head_count", &GroupSpec::head_count)
      .def_rw("head_bytes", &GroupSpec::head_bytes)
      .def_rw("slice_count", &GroupSpec::slice_count)
      .def_prop_rw("rule", &RuleName, &SetRule)
      .def_rw("trailing_blocks", &GroupSpec::trailing_blocks)
      .def_prop_ro("page_bytes", &GroupSpec::page_bytes)
      .def_prop_ro("block_bytes", &GroupSpec::block_bytes)
      .def(nb::self == nb::self)
      .def("__repr__", &Repr);
  // Its fields change.
  spec.attr("__hash__") = nb::none();
  RefusePickle(spec, "kvferry.GroupSpec", "make it anew there");
}

}  // namespace kvferry::python
