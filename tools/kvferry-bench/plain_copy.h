#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_PLAIN_COPY_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_PLAIN_COPY_H_

#include <cstddef>
#include <string>
#include <vector>

namespace kvferry::bench {

// A way to copy a page between memory that does not overlap.
struct PlainCopy {
  std::string name;
  void (*copy)(void* target, const void* source, size_t bytes);
};

// What a copy is compared with: libc's memcpy, `rep movsb`, straight
// non-temporal loops written here, and CopyBytes itself. The fastest of them
// on the same memory in the same run is the limit.
//
// Shape  pages: both pointers and the size are multiples of 64
std::vector<PlainCopy> PlainCopies();

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_PLAIN_COPY_H_
