#ifndef KVFERRY_BASE_FORK_GUARD_H_
#define KVFERRY_BASE_FORK_GUARD_H_

#include <pthread.h>

#include <atomic>
#include <cstdint>

namespace kvferry {

// Tells a forked child from the process that made an object, for one relaxed
// load: a pthread_atfork handler counts the forks this process is the child
// of. (Mappings are MADV_DONTFORK, so a child that went on would crash.)
class ForkGuard {
 public:
  ForkGuard() : generation_(Register()) {}

  // True in a child forked after this object was made.
  bool forked() const {
    return forks_.load(std::memory_order_relaxed) != generation_;
  }

 private:
  static uint32_t Register() {
    static const int registered = ::pthread_atfork(nullptr, nullptr, [] {
      forks_.fetch_add(1, std::memory_order_relaxed);
    });
    (void)registered;
    return forks_.load(std::memory_order_relaxed);
  }

  // Not a static local: those are asked on every access whether they are
  // initialised.
  static inline constinit std::atomic<uint32_t> forks_{1};

  const uint32_t generation_;
};

}  // namespace kvferry

#endif  // KVFERRY_BASE_FORK_GUARD_H_
