#ifndef KVFERRY_SDK_PYTHON_SRC_PAGE_H_
#define KVFERRY_SDK_PYTHON_SRC_PAGE_H_

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <utility>

#include "base/fork_guard.h"

namespace kvferry::python {

// What holds the memory of pages: a match's pins, a publication, a stream.
class PageOwner {
 public:
  virtual ~PageOwner() = default;
  // Views that are alive.
  size_t views() const { return views_.load(std::memory_order_acquire); }
  // In a forked child: the memory is not mapped there.
  bool forked() const { return fork_guard_.forked(); }

 private:
  friend class PageView;
  // Changed by PageViews of any thread.
  std::atomic<size_t> views_{0};
  const ForkGuard fork_guard_;
};

// One page, and its owner kept alive. Copied and destroyed by any thread, with
// or without the GIL.
class PageView {
 public:
  PageView(std::shared_ptr<PageOwner> owner, void* data, size_t bytes,
           bool read_only)
      : owner_(std::move(owner)),
        data_(data),
        bytes_(bytes),
        read_only_(read_only) {
    Count(1);
  }
  PageView(const PageView& other)
      : owner_(other.owner_),
        data_(other.data_),
        bytes_(other.bytes_),
        read_only_(other.read_only_) {
    Count(1);
  }
  PageView& operator=(const PageView&) = delete;
  ~PageView() { Count(-1); }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool read_only() const { return read_only_; }
  bool forked() const { return owner_->forked(); }
  // Errors  FailedPrecondition  in a forked child
  void CheckMapped() const;

 private:
  void Count(int change) {
    owner_->views_.fetch_add(static_cast<size_t>(change),
                             std::memory_order_acq_rel);
  }

  const std::shared_ptr<PageOwner> owner_;
  void* const data_;
  const size_t bytes_;
  const bool read_only_;
};

// kvferry.Page
void BindPage(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_PAGE_H_
