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
  ForkGuard() : generation_(Generation().load(std::memory_order_relaxed)) {}

  // True in a child forked after this object was made.
  bool forked() const {
    return Generation().load(std::memory_order_relaxed) != generation_;
  }

 private:
  static std::atomic<uint32_t>& Generation() {
    static std::atomic<uint32_t> generation{Register()};
    return generation;
  }
  static uint32_t Register() {
    ::pthread_atfork(nullptr, nullptr, [] {
      Generation().fetch_add(1, std::memory_order_relaxed);
    });
    return 1;
  }

  const uint32_t generation_;
};

}  // namespace kvferry

#endif  // KVFERRY_BASE_FORK_GUARD_H_
