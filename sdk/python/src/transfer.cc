#include "sdk/python/src/transfer.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <utility>

#include "sdk/python/src/cuda_stream.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/no_pickle.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/wait_steps.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

}  // namespace

TransferHandle::~TransferHandle() {
  kvf_transfer_destroy(transfer_);
  // An interpreter that has ended has no objects to let go of.
  if (!keep_.empty() && !GilHeld()) {
    for (nb::object& object : keep_) (void)object.release();
  }
}

bool TransferHandle::LookWhetherDone() {
  if (kvf_transfer_done(transfer_) == 0) return false;
  // Whatever their ends run finds it empty.
  const std::vector<nb::object> ended = std::exchange(keep_, {});
  return true;
}

bool Transfer::done() { return handle_->LookWhetherDone(); }

void Transfer::Check() {
  (void)done();
  python::Check(kvf_transfer_status(handle_->get()));
}

void Transfer::Wait(std::optional<double> timeout) {
  const kvf_status status = WaitInSteps(timeout, [this](int64_t ns) {
    return kvf_transfer_wait(handle_->get(), ns);
  });
  if (status == KVF_OK) {
    (void)done();
    return;
  }
  // Before its text is another call's.
  const std::string text = kvf_error_message();
  (void)done();
  Raise(status, text);
}

void Transfer::OrderAfter(nb::handle stream, int64_t layers) {
  void* const c_stream = CudaStream(stream);
  const uint32_t layer_count = Uint32(layers, "layers");
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_transfer_order_after(handle_->get(), c_stream, layer_count);
  }
  python::Check(status);
}

std::vector<uint32_t> Transfer::skipped() {
  (void)done();
  size_t count = 0;
  const kvf_status status =
      kvf_transfer_skipped(handle_->get(), nullptr, 0, &count);
  if (status != KVF_OUT_OF_RANGE) python::Check(status);
  // It does not change once the transfer has ended.
  std::vector<uint32_t> positions(count);
  python::Check(kvf_transfer_skipped(handle_->get(), positions.data(),
                                     positions.size(), &count));
  return positions;
}

uint64_t Transfer::nbytes() {
  (void)done();
  return kvf_transfer_bytes(handle_->get());
}

std::string Transfer::Repr() {
  if (!done()) return "<kvferry.Transfer, under way>";
  const kvf_status status = kvf_transfer_status(handle_->get());
  if (status != KVF_OK) {
    return std::string("<kvferry.Transfer, ") + kvf_status_name(status) + ">";
  }
  return "<kvferry.Transfer of " + std::to_string(nbytes()) + " bytes, done>";
}

nb::object MakeTransfer(TransferRef handle) {
  nb::object object = nb::inst_alloc(nb::type<Transfer>());
  new (nb::inst_ptr<Transfer>(object)) Transfer(std::move(handle));
  nb::inst_mark_ready(object);
  return object;
}

void BindTransfer(nb::module_& module) {
  nb::class_<Transfer> transfer(
      module, "Transfer",
      "Blocks on their way from or to a GPU. It ends by itself, also when "
      "this\n"
      "object is gone. Any number of threads use it.");
  transfer.def("done", &Transfer::done, "Whether it has ended, well or not.")
      .def("check", &Transfer::Check,
           "Raises how it ended badly; Unavailable while it is under way.")
      .def("wait", &Transfer::Wait, nb::arg("timeout").none() = nb::none(),
           "Waits until it has ended; raises how it ended badly.")
      .def("order_after", &Transfer::OrderAfter,
           nb::arg("stream").none() = nb::none(), nb::arg("layers") = 0,
           "What the stream is given from here on begins when the first\n"
           "`layers` layers (0: all) have landed. Does not wait.")
      .def_prop_ro("skipped", &Transfer::skipped,
                   "Positions of a pull that failed, or of a publication that\n"
                   "were not to be written, once it has ended.")
      .def_prop_ro("nbytes", &Transfer::nbytes,
                   "Of what was copied; 0 while it is under way.")
      .def("__repr__", &Transfer::Repr);
  RefusePickle(transfer, "kvferry.Transfer", "it is a process's own");
}

}  // namespace kvferry::python
