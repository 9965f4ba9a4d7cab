#ifndef KVFERRY_SDK_PYTHON_SRC_KEYS_H_
#define KVFERRY_SDK_PYTHON_SRC_KEYS_H_

#include <nanobind/nanobind.h>

#include "sdk/python/src/client.h"

namespace kvferry::python {

// kvferry.Hasher
void BindHasher(nanobind::module_& module);
// Client.hasher, Client.keys_from_digests
void BindClientKeys(nanobind::class_<Client>& client);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_KEYS_H_
