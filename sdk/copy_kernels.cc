#include "sdk/copy_kernels.h"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace kvferry::sdk {
namespace {

void CopyLibc(void* target, const void* source, size_t bytes) {
  if (bytes != 0) std::memcpy(target, source, bytes);
}

#if defined(__x86_64__)

void CopyMovsb(void* target, const void* source, size_t bytes) {
  asm volatile("rep movsb"
               : "+D"(target), "+S"(source), "+c"(bytes)
               :
               : "memory");
}

// The unit of the non-temporal loops: four cache lines.
constexpr size_t kRoundBytes = kStreamingRunBytes;
constexpr size_t kLineBytes = kStreamingAlignment;

// How far ahead the source is prefetched. Less does not hide DRAM, more costs
// the start of a block. Copying two or four pages in turn, as some libraries
// do, is 5 % slower at 64 KiB and 25 to 35 % at 1 MiB (Zen 4, 4 KiB pages).
constexpr size_t kPrefetchBytes = 2048;
// The first part of a block is prefetched into the second-level cache, where
// the hardware takes over sooner; the rest past it, since nobody reads it
// again. Either alone loses 5 % at 64 KiB or 10 % at 1 MiB.
constexpr size_t kWarmBytes = size_t{64} * 1024;
static_assert(kPrefetchBytes % kRoundBytes == 0);
static_assert(kWarmBytes % kRoundBytes == 0);

// A copy cut into a head that aligns the target, rounds of kRoundBytes, and a
// tail. `warm` and `far` rounds prefetch kPrefetchBytes ahead; the `last` ones
// do not, since that would read past the end of the source.
struct Cut {
  size_t head_bytes;
  size_t warm_rounds;
  size_t far_rounds;
  size_t last_rounds;
  size_t tail_bytes;
};

Cut CutFor(const void* target, size_t bytes) {
  Cut cut;
  cut.head_bytes = -reinterpret_cast<uintptr_t>(target) & (kLineBytes - 1);
  if (cut.head_bytes > bytes) cut.head_bytes = bytes;
  bytes -= cut.head_bytes;
  const size_t rounds = bytes / kRoundBytes;
  constexpr size_t kAheadRounds = kPrefetchBytes / kRoundBytes;
  constexpr size_t kWarmRounds = kWarmBytes / kRoundBytes;
  const size_t ahead = rounds > kAheadRounds ? rounds - kAheadRounds : 0;
  cut.warm_rounds = ahead < kWarmRounds ? ahead : kWarmRounds;
  cut.far_rounds = ahead - cut.warm_rounds;
  cut.last_rounds = rounds - ahead;
  cut.tail_bytes = bytes % kRoundBytes;
  return cut;
}

// Locality 2 is prefetcht1, 0 is prefetchnta.
constexpr int kWarm = 2;
constexpr int kOnce = 0;

template <int kLocality>
inline void PrefetchRound(const std::byte* source) {
  const std::byte* const ahead = source + kPrefetchBytes;
  __builtin_prefetch(ahead, 0, kLocality);
  __builtin_prefetch(ahead + kLineBytes, 0, kLocality);
  __builtin_prefetch(ahead + 2 * kLineBytes, 0, kLocality);
  __builtin_prefetch(ahead + 3 * kLineBytes, 0, kLocality);
}

// The loops stand twice, since a function with a target attribute is inlined
// only into one with the same.

__attribute__((target("avx512f"))) inline void StreamRound512(
    std::byte* target, const std::byte* source) {
  const __m512i a = _mm512_loadu_si512(source);
  const __m512i b = _mm512_loadu_si512(source + 64);
  const __m512i c = _mm512_loadu_si512(source + 128);
  const __m512i d = _mm512_loadu_si512(source + 192);
  auto* const out = reinterpret_cast<__m512i*>(target);
  _mm512_stream_si512(out, a);
  _mm512_stream_si512(out + 1, b);
  _mm512_stream_si512(out + 2, c);
  _mm512_stream_si512(out + 3, d);
}

__attribute__((target("avx512f"))) void CopyAvx512Unordered(
    void* target_start, const void* source_start, size_t bytes) {
  auto* target = static_cast<std::byte*>(target_start);
  auto* source = static_cast<const std::byte*>(source_start);
  const Cut cut = CutFor(target, bytes);
  CopyLibc(target, source, cut.head_bytes);
  target += cut.head_bytes;
  source += cut.head_bytes;
  for (size_t i = 0; i < cut.warm_rounds; ++i) {
    PrefetchRound<kWarm>(source);
    StreamRound512(target, source);
    target += kRoundBytes;
    source += kRoundBytes;
  }
  for (size_t i = 0; i < cut.far_rounds; ++i) {
    PrefetchRound<kOnce>(source);
    StreamRound512(target, source);
    target += kRoundBytes;
    source += kRoundBytes;
  }
  for (size_t i = 0; i < cut.last_rounds; ++i) {
    StreamRound512(target, source);
    target += kRoundBytes;
    source += kRoundBytes;
  }
  CopyLibc(target, source, cut.tail_bytes);
}

void CopyAvx512(void* target, const void* source, size_t bytes) {
  CopyAvx512Unordered(target, source, bytes);
  _mm_sfence();
}

__attribute__((target("avx2"))) inline void StreamRound256(
    std::byte* target, const std::byte* source) {
  auto* const in = reinterpret_cast<const __m256i*>(source);
  const __m256i a = _mm256_loadu_si256(in);
  const __m256i b = _mm256_loadu_si256(in + 1);
  const __m256i c = _mm256_loadu_si256(in + 2);
  const __m256i d = _mm256_loadu_si256(in + 3);
  const __m256i e = _mm256_loadu_si256(in + 4);
  const __m256i f = _mm256_loadu_si256(in + 5);
  const __m256i g = _mm256_loadu_si256(in + 6);
  const __m256i h = _mm256_loadu_si256(in + 7);
  auto* const out = reinterpret_cast<__m256i*>(target);
  _mm256_stream_si256(out, a);
  _mm256_stream_si256(out + 1, b);
  _mm256_stream_si256(out + 2, c);
  _mm256_stream_si256(out + 3, d);
  _mm256_stream_si256(out + 4, e);
  _mm256_stream_si256(out + 5, f);
  _mm256_stream_si256(out + 6, g);
  _mm256_stream_si256(out + 7, h);
}

__attribute__((target("avx2"))) void CopyAvx2Unordered(void* target_start,
                                                       const void* source_start,
                                                       size_t bytes) {
  auto* target = static_cast<std::byte*>(target_start);
  auto* source = static_cast<const std::byte*>(source_start);
  const Cut cut = CutFor(target, bytes);
  CopyLibc(target, source, cut.head_bytes);
  target += cut.head_bytes;
  source += cut.head_bytes;
  for (size_t i = 0; i < cut.warm_rounds; ++i) {
    PrefetchRound<kWarm>(source);
    StreamRound256(target, source);
    target += kRoundBytes;
    source += kRoundBytes;
  }
  for (size_t i = 0; i < cut.far_rounds; ++i) {
    PrefetchRound<kOnce>(source);
    StreamRound256(target, source);
    target += kRoundBytes;
    source += kRoundBytes;
  }
  for (size_t i = 0; i < cut.last_rounds; ++i) {
    StreamRound256(target, source);
    target += kRoundBytes;
    source += kRoundBytes;
  }
  CopyLibc(target, source, cut.tail_bytes);
}

void CopyAvx2(void* target, const void* source, size_t bytes) {
  CopyAvx2Unordered(target, source, bytes);
  _mm_sfence();
}

#endif  // defined(__x86_64__)

// AMD's family 19h (Zen 3 and 4) moves 64-byte registers in halves: avx2 is 3
// to 5 % faster there.
bool SplitsWideStores() {
#if defined(__x86_64__)
  return __builtin_cpu_is("amdfam19h");
#else
  return false;
#endif
}

std::vector<CopyKernel> KernelsOfThisCpu() {
  std::vector<CopyKernel> kernels{{"libc", CopyLibc, CopyLibc}};
#if defined(__x86_64__)
  kernels.push_back({"movsb", CopyMovsb, CopyMovsb});
  if (__builtin_cpu_supports("avx2"))
    kernels.push_back({"avx2", CopyAvx2, CopyAvx2Unordered});
  if (__builtin_cpu_supports("avx512f")) {
    kernels.push_back({"avx512", CopyAvx512, CopyAvx512Unordered});
  }
#endif
  return kernels;
}

}  // namespace

void OrderCopies() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

std::span<const CopyKernel> CopyKernels() {
  // Never destroyed: a thread may copy while the process exits.
  static const auto* const kernels =
      new std::vector<CopyKernel>(KernelsOfThisCpu());
  return *kernels;
}

const CopyKernel& ChooseCopyKernel(absl::string_view wanted) {
  const std::span<const CopyKernel> kernels = CopyKernels();
  const CopyKernel* best = &kernels.front();
  for (const CopyKernel& kernel : kernels) {
    const absl::string_view name = kernel.name;
    if (name == wanted) return kernel;
    if (name == "avx2" || (name == "avx512" && !SplitsWideStores())) {
      best = &kernel;
    }
  }
  return *best;
}

const CopyKernel& LargeCopyKernel() {
  static const CopyKernel& kernel = []() -> const CopyKernel& {
    const char* const wanted = ::secure_getenv("KVFERRY_COPY");
    return ChooseCopyKernel(wanted == nullptr ? "" : wanted);
  }();
  return kernel;
}

const char* CopyKernelName() { return LargeCopyKernel().name; }

}  // namespace kvferry::sdk
