#include "tests/unit/sdk/client/allocation_counter.h"

#include <cstdlib>
#include <new>

namespace {

thread_local bool t_counting = false;
thread_local uint64_t t_count = 0;

}  // namespace

void* operator new(size_t bytes) {
  if (t_counting) ++t_count;
  void* memory = std::malloc(bytes);
  if (memory == nullptr) std::abort();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace kvferry::test {

void AllocationCounter::Start() {
  t_count = 0;
  t_counting = true;
}

uint64_t AllocationCounter::Stop() {
  t_counting = false;
  return t_count;
}

}  // namespace kvferry::test
