#include "tools/kvferry-bench/plain_copy.h"

#include <cstring>

#include "kvferry/copy.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvferry::bench {
namespace {

void Libc(void* target, const void* source, size_t bytes) {
  std::memcpy(target, source, bytes);
}

#if defined(__x86_64__)

void RepMovsb(void* target, const void* source, size_t bytes) {
  asm volatile("rep movsb"
               : "+D"(target), "+S"(source), "+c"(bytes)
               :
               : "memory");
}

__attribute__((target("avx2"))) void NonTemporal256(void* target,
                                                    const void* source,
                                                    size_t bytes) {
  auto* to = static_cast<__m256i*>(target);
  const auto* from = static_cast<const __m256i*>(source);
  for (const __m256i* const end = from + bytes / 32; from != end;
       from += 2, to += 2) {
    const __m256i low = _mm256_loadu_si256(from);
    const __m256i high = _mm256_loadu_si256(from + 1);
    _mm256_stream_si256(to, low);
    _mm256_stream_si256(to + 1, high);
  }
  _mm_sfence();
}

__attribute__((target("avx512f"))) void NonTemporal512(void* target,
                                                       const void* source,
                                                       size_t bytes) {
  auto* to = static_cast<__m512i*>(target);
  const auto* from = static_cast<const __m512i*>(source);
  for (const __m512i* const end = from + bytes / 64; from != end;
       ++from, ++to) {
    _mm512_stream_si512(to, _mm512_loadu_si512(from));
  }
  _mm_sfence();
}

#endif  // defined(__x86_64__)

}  // namespace

std::vector<PlainCopy> PlainCopies() {
  std::vector<PlainCopy> copies = {{"libc memcpy", Libc}};
#if defined(__x86_64__)
  copies.push_back({"rep movsb", RepMovsb});
  if (__builtin_cpu_supports("avx2")) {
    copies.push_back({"non-temporal AVX2", NonTemporal256});
  }
  if (__builtin_cpu_supports("avx512f")) {
    copies.push_back({"non-temporal AVX-512", NonTemporal512});
  }
#endif
  copies.push_back({"CopyBytes", CopyBytes});
  return copies;
}

}  // namespace kvferry::bench
