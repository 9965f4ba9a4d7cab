#ifndef KVFERRY_SDK_PYTHON_SRC_MATCH_H_
#define KVFERRY_SDK_PYTHON_SRC_MATCH_H_

#include <nanobind/nanobind.h>

#include "sdk/python/src/client.h"

namespace kvferry::python {

// kvferry.LookupResult
void BindLookupResult(nanobind::module_& module);
// Client.match, match_groups, lookup, lookup_groups
void BindClientMatch(nanobind::class_<Client>& client);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_MATCH_H_
