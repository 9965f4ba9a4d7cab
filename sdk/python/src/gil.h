#ifndef KVFERRY_SDK_PYTHON_SRC_GIL_H_
#define KVFERRY_SDK_PYTHON_SRC_GIL_H_

#include <Python.h>
#include <sched.h>
#include <unistd.h>

#include <cstddef>

namespace kvferry::python {

// Calls that only look at so many keys or blocks keep the GIL: they take some
// ten microseconds, and to get the GIL back takes up to the interpreter's
// switch interval, 5 ms, when another thread computes.
inline constexpr size_t kKeysWithGilMax = 512;

// Whether this thread may not come back: the interpreter is ending, and would
// end the thread in PyEval_RestoreThread by an unwinding that no destructor
// survives. (Python 3.14 keeps such threads waiting itself.)
inline bool InterpreterIsGone() {
#if PY_VERSION_HEX >= 0x030d0000
  const bool ending = Py_IsFinalizing() != 0;
#else
  const bool ending = _Py_IsFinalizing() != 0;
#endif
  // The main thread is the one that ends it.
  return ending && ::gettid() != ::getpid();
}

// Gives the GIL up in its scope, when `condition` holds.
class GilRelease {
 public:
  explicit GilRelease(bool condition = true)
      : state_(condition ? PyEval_SaveThread() : nullptr) {}
  ~GilRelease() {
    if (state_ == nullptr) return;
    while (InterpreterIsGone()) ::pause();
    PyEval_RestoreThread(state_);
  }
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

 private:
  PyThreadState* const state_;
};

// Lets others have the GIL, in the middle of work that wants it. Such work does
// so at least every kKeysWithGilMax steps of some hundred nanoseconds.
inline void YieldGil() {
  const GilRelease release;
  ::sched_yield();
}

// For what may be destroyed with the GIL or without: a view's last holder can
// be a thread that Python does not know.
inline bool GilHeld() { return Py_IsInitialized() && PyGILState_Check(); }

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_GIL_H_
