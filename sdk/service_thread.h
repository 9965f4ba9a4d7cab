#ifndef KVFERRY_SDK_SERVICE_THREAD_H_
#define KVFERRY_SDK_SERVICE_THREAD_H_

#include <pthread.h>
#include <signal.h>

#include <functional>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "base/status.h"

namespace kvferry::sdk {

// Starts a thread of the SDK's own: signals are the application's threads'
// business. `name` is at most 15 characters.
// Errors  kResourceExhausted, as ErrnoStatus
inline absl::StatusOr<std::thread> StartServiceThread(
    const char* name, std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  absl::StatusOr<std::thread> started = std::thread();
  try {
    *started = std::thread(std::move(body));
    (void)pthread_setname_np(started->native_handle(), name);
  } catch (const std::system_error& error) {
    started = ErrnoStatus(error.code().value(), name);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_SERVICE_THREAD_H_
