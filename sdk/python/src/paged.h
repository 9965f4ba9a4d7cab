#ifndef KVFERRY_SDK_PYTHON_SRC_PAGED_H_
#define KVFERRY_SDK_PYTHON_SRC_PAGED_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <string>
#include <utility>

#include "kvferry/kvferry.h"

namespace kvferry::python {

// kvferry.PagedMemory. It does not change, so that calls in several threads may
// use it at once.
class PagedMemory {
 public:
  PagedMemory(kvf_paged* paged, nanobind::object owner, bool on_device,
              std::string text)
      : paged_(paged),
        owner_(std::move(owner)),
        on_device_(on_device),
        text_(std::move(text)) {}
  ~PagedMemory() { kvf_paged_destroy(paged_); }
  PagedMemory(const PagedMemory&) = delete;
  PagedMemory& operator=(const PagedMemory&) = delete;

  const kvf_paged* get() const { return paged_; }
  // For the interpreter's search for cycles.
  nanobind::object& owner() { return owner_; }
  // Its addresses are a GPU's.
  bool on_device() const { return on_device_; }
  const std::string& text() const { return text_; }

 private:
  kvf_paged* const paged_;
  nanobind::object owner_;
  const bool on_device_;
  const std::string text_;
};

// kvferry.PagedLayer, kvferry.PagedMemory
void BindPaged(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_PAGED_H_
