#ifndef KVFERRY_SDK_PYTHON_SRC_TRANSFER_H_
#define KVFERRY_SDK_PYTHON_SRC_TRANSFER_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/kvferry_gpu.h"

namespace kvferry::python {

// A C transfer, and the Python objects whose memory it copies from or to: they
// are let go of when somebody sees that it has ended, and by the Gpu at the
// latest, never before. Until then they are roots for the search for cycles.
//
// Threads  any; what is kept changes under the GIL alone
class TransferHandle {
 public:
  TransferHandle(kvf_transfer* transfer, std::vector<nanobind::object> keep)
      : transfer_(transfer), keep_(std::move(keep)) {}
  ~TransferHandle();
  TransferHandle(const TransferHandle&) = delete;
  TransferHandle& operator=(const TransferHandle&) = delete;

  kvf_transfer* get() const { return transfer_; }
  // Whether it has ended. Wants the GIL.
  bool LookWhetherDone();

 private:
  kvf_transfer* const transfer_;
  std::vector<nanobind::object> keep_;
};
using TransferRef = std::shared_ptr<TransferHandle>;

// kvferry.Transfer
class Transfer {
 public:
  explicit Transfer(TransferRef handle) : handle_(std::move(handle)) {}

  bool done();
  void Check();
  void Wait(std::optional<double> timeout);
  void OrderAfter(nanobind::handle stream, int64_t layers);
  std::vector<uint32_t> skipped();
  uint64_t nbytes();
  std::string Repr();

 private:
  const TransferRef handle_;
};

nanobind::object MakeTransfer(TransferRef handle);

// kvferry.Transfer
void BindTransfer(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_TRANSFER_H_
