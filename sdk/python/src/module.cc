// kvferry._core: the C interface as Python objects. One file a concept.

#include <nanobind/nanobind.h>

#include "kvferry/kvferry.h"
#include "sdk/python/src/admin.h"
#include "sdk/python/src/client.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/gpu.h"
#include "sdk/python/src/group_spec.h"
#include "sdk/python/src/keys.h"
#include "sdk/python/src/match.h"
#include "sdk/python/src/page.h"
#include "sdk/python/src/paged.h"
#include "sdk/python/src/prefix.h"
#include "sdk/python/src/publication.h"
#include "sdk/python/src/stream.h"
#include "sdk/python/src/tensor_place.h"
#include "sdk/python/src/ticket.h"
#include "sdk/python/src/transfer.h"

namespace nb = nanobind;

NB_MODULE(_core, module) {
  using namespace kvferry::python;  // NOLINT: the module is this namespace's
  // A client that lives until the interpreter ends is no fault.
  nb::set_leak_warnings(false);
  module.doc() =
      "KVFerry's client SDK. The stub beside it says what its calls promise.";
  LoadErrorClasses();
  BindGroupSpec(module);
  BindPage(module);
  BindPaged(module);
  BindTensorPlace(module);
  BindHasher(module);
  BindLookupResult(module);
  BindPrefix(module);
  BindPublication(module);
  BindStream(module);
  BindTicketContent(module);
  BindClient(module);
  BindTransfer(module);
  BindGpu(module);
  BindAdmin(module);
  module.def("version", &kvf_version, "The SDK's version, as in \"0.1.0\".");
  module.def("default_socket_path", &kvf_default_socket_path,
             "Where a client without socket_path attaches.");
}
