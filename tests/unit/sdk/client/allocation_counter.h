#ifndef KVFERRY_TESTS_UNIT_SDK_CLIENT_ALLOCATION_COUNTER_H_
#define KVFERRY_TESTS_UNIT_SDK_CLIENT_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace kvferry::test {

// Counts what this thread allocates with `new` between Start and Stop; the
// program's operator new is replaced for it.
class AllocationCounter {
 public:
  static void Start();
  static uint64_t Stop();
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_UNIT_SDK_CLIENT_ALLOCATION_COUNTER_H_
