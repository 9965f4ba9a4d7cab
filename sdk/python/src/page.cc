#include "sdk/python/src/page.h"

#include <nanobind/stl/string.h>

#include <string>

#include "sdk/python/src/dlpack.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/no_pickle.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// The buffer holds the Page object, and that the memory's owner.
int GetBuffer(PyObject* self, Py_buffer* view, int flags) {
  if (!nb::inst_ready(self)) {
    view->obj = nullptr;
    PyErr_SetString(PyExc_BufferError, "page: not made");
    return -1;
  }
  const PageView* const page = nb::inst_ptr<PageView>(self);
  try {
    page->CheckMapped();
  } catch (nb::python_error& error) {
    view->obj = nullptr;
    error.restore();
    return -1;
  }
  return PyBuffer_FillInfo(view, self, page->data(),
                           static_cast<Py_ssize_t>(page->bytes()),
                           page->read_only() ? 1 : 0, flags);
}

PyType_Slot slots[] = {{Py_bf_getbuffer, reinterpret_cast<void*>(&GetBuffer)},
                       {0, nullptr}};

std::string Repr(const PageView& page) {
  return "<kvferry.Page of " + std::to_string(page.bytes()) + " bytes, " +
         (page.read_only() ? "read-only" : "writable") + ">";
}

#if PY_VERSION_HEX < 0x030c0000
// Newer interpreters make this method themselves.
nb::object BufferMethod(nb::handle self, int flags) {
  const nb::object view = nb::steal(PyMemoryView_FromObject(self.ptr()));
  if (!view.is_valid()) throw nb::python_error();
  if ((flags & PyBUF_WRITABLE) != 0 &&
      PyMemoryView_GET_BUFFER(view.ptr())->readonly != 0) {
    throw nb::buffer_error("page: read-only");
  }
  return view;
}
#endif

}  // namespace

void PageView::CheckMapped() const {
  if (forked()) {
    Raise(KVF_FAILED_PRECONDITION, "page: made before the fork, by the parent");
  }
}

void BindPage(nb::module_& module) {
  nb::class_<PageView> page(
      module, "Page", nb::type_slots(slots),
      "One page: bytes, one-dimensional. numpy.asarray(page) and\n"
      "torch.from_dlpack(page) are views of it, without a copy, and keep it\n"
      "where it is. Never write to a page after its commit or abort.");
  page.def_prop_ro("nbytes", &PageView::bytes)
      .def_prop_ro("readonly", &PageView::read_only)
      .def("__len__", &PageView::bytes)
#if PY_VERSION_HEX < 0x030c0000
      .def("__buffer__", &BufferMethod, nb::arg("flags"))
#endif
      .def("__dlpack__", &ToDlpack, nb::kw_only(),
           nb::arg("stream") = nb::none(), nb::arg("max_version") = nb::none(),
           nb::arg("dl_device") = nb::none(), nb::arg("copy") = nb::none(),
           "A DLPack capsule, as the Python array API standard has it.")
      .def("__dlpack_device__", &DlpackDevice)
      .def("__repr__", &Repr);
  RefusePickle(page, "kvferry.Page", "copy its bytes, bytes(page)");
}

}  // namespace kvferry::python
