#include "sdk/python/src/match.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>

#include <iterator>
#include <string>

#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/group_keys.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/prefix.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

struct LookupResult {
  const char* answer;
  uint64_t tokens;
  uint64_t coming_tokens;
  std::optional<double> estimate;
};

// By kvf_lookup_answer.
constexpr const char* kAnswers[] = {"nothing", "hit", "ask_again"};

// `into` as it came, or a new prefix.
nb::object MatchInto(const Client& client, const GroupKeysView& keys,
                     Prefix* into) {
  const ClientRef handle = client.handle();
  nb::object object;
  if (into == nullptr) {
    object = nb::inst_alloc(nb::type<Prefix>());
    into = new (nb::inst_ptr<Prefix>(object)) Prefix();
    nb::inst_mark_ready(object);
  } else {
    object = nb::find(*into);
  }
  into->Match(handle, keys.data(), keys.size(), keys.key_count());
  return object;
}

nb::object Match(const Client& client, const Buffer& keys, int64_t group,
                 int64_t tail_tokens, Prefix* into) {
  return MatchInto(client, GroupKeysView(keys, group, tail_tokens), into);
}

nb::object MatchGroups(const Client& client, const nb::sequence& groups,
                       Prefix* into) {
  return MatchInto(client, GroupKeysView(groups), into);
}

LookupResult LookupKeys(const Client& client, const GroupKeysView& keys) {
  const ClientRef handle = client.handle();
  kvf_lookup_result result{};
  result.size = sizeof(result);
  kvf_status status;
  {
    const GilRelease release(keys.key_count() > kKeysWithGilMax);
    status = kvf_lookup(handle->get(), keys.data(), keys.size(), &result);
  }
  Check(status);
  return {.answer = result.answer < std::size(kAnswers)
                        ? kAnswers[result.answer]
                        : "unknown",
          .tokens = result.tokens,
          .coming_tokens = result.coming_tokens,
          .estimate = SecondsOrNone(result.estimate_ns)};
}

LookupResult Lookup(const Client& client, const Buffer& keys, int64_t group,
                    int64_t tail_tokens) {
  return LookupKeys(client, GroupKeysView(keys, group, tail_tokens));
}

LookupResult LookupGroups(const Client& client, const nb::sequence& groups) {
  return LookupKeys(client, GroupKeysView(groups));
}

std::string Repr(const LookupResult& result) {
  return "<kvferry.LookupResult " + std::string(result.answer) + ", " +
         std::to_string(result.tokens) + " tokens, " +
         std::to_string(result.coming_tokens) + " coming>";
}

}  // namespace

void BindLookupResult(nb::module_& module) {
  nb::class_<LookupResult>(module, "LookupResult",
                           "What is there, and what is coming.")
      .def_prop_ro("answer", [](const LookupResult& r) { return r.answer; })
      .def_ro("tokens", &LookupResult::tokens)
      .def_ro("coming_tokens", &LookupResult::coming_tokens)
      .def_ro("estimate", &LookupResult::estimate)
      .def("__repr__", &Repr);
}

void BindClientMatch(nb::class_<Client>& client) {
  client
      .def("match", &Match, nb::arg("keys"), nb::kw_only(),
           nb::arg("group") = 0, nb::arg("tail_tokens") = 0,
           nb::arg("into") = nb::none(),
           "Pins the longest cached prefix of `keys`. `into` is a prefix to\n"
           "fill again; what it held is released first.")
      .def("match_groups", &MatchGroups, nb::arg("groups"), nb::kw_only(),
           nb::arg("into") = nb::none(),
           "The same for several groups at once, each (group, keys) or\n"
           "(group, keys, tail_tokens).")
      .def("lookup", &Lookup, nb::arg("keys"), nb::kw_only(),
           nb::arg("group") = 0, nb::arg("tail_tokens") = 0,
           "What a match would find, and what is being written; pins nothing.")
      .def("lookup_groups", &LookupGroups, nb::arg("groups"));
}

}  // namespace kvferry::python
