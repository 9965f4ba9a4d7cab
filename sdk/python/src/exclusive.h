#ifndef KVFERRY_SDK_PYTHON_SRC_EXCLUSIVE_H_
#define KVFERRY_SDK_PYTHON_SRC_EXCLUSIVE_H_

#include <atomic>
#include <string>

#include "base/fork_guard.h"
#include "sdk/python/src/errors.h"

namespace kvferry::python {

// Says that one thread at a time uses an object. The C interface requires it,
// and a call that gave up the GIL is no longer protected by it.
class Exclusive {
 public:
  // In a child forked after it was made: the object is the parent's.
  bool forked() const { return fork_guard_.forked(); }

 private:
  friend class ExclusiveUse;
  const ForkGuard fork_guard_;
  // Written by ExclusiveUse alone; its acquire and release pair with one
  // another, so that what one use did is seen by the next.
  std::atomic<bool> used_{false};
};

// One use, for its scope.
// Errors  FailedPrecondition  another thread's call is under way, or this is a
//                             forked child
class ExclusiveUse {
 public:
  // `what` names the object, as in "stream".
  ExclusiveUse(Exclusive& exclusive, const char* what) : exclusive_(exclusive) {
    if (exclusive_.forked()) {
      Raise(KVF_FAILED_PRECONDITION,
            std::string(what) + ": made before the fork, by the parent");
    }
    if (exclusive_.used_.exchange(true, std::memory_order_acquire)) {
      Raise(KVF_FAILED_PRECONDITION,
            std::string(what) + ": in use by another thread, one at a time");
    }
  }
  ~ExclusiveUse() { exclusive_.used_.store(false, std::memory_order_release); }
  ExclusiveUse(const ExclusiveUse&) = delete;
  ExclusiveUse& operator=(const ExclusiveUse&) = delete;

 private:
  Exclusive& exclusive_;
};

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_EXCLUSIVE_H_
