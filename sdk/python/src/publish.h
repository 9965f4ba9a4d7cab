#ifndef KVFERRY_SDK_PYTHON_SRC_PUBLISH_H_
#define KVFERRY_SDK_PYTHON_SRC_PUBLISH_H_

#include <nanobind/nanobind.h>

#include "sdk/python/src/client.h"

namespace kvferry::python {

// Client.open_publication, Client.publish
void BindClientPublish(nanobind::class_<Client>& client);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_PUBLISH_H_
