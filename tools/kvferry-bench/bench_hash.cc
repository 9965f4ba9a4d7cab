#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "kvferry/key.h"
#include "tools/kvferry-bench/benches.h"
#include "tools/kvferry-bench/interleave.h"
#include "tools/kvferry-bench/random.h"
#include "tools/kvferry-bench/statistics.h"

namespace kvferry::bench {
namespace {

constexpr uint32_t kBlockTokens = 16;
// Blocks timed together: one takes no longer than five looks at the clock.
constexpr size_t kGroupBlocks = 64;
// What KeyHasher digests for a full block, field by field (kvferry/key.h).
constexpr size_t kDigestedBytes =
    sizeof("kvferry-key-1") - 1 + 32 + 4 + 16 + 4 + kBlockTokens * 4 + 4;

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { ::EVP_MD_CTX_free(context); }
};
struct FreeDigest {
  void operator()(EVP_MD* digest) const { ::EVP_MD_free(digest); }
};

// SHA-256 of messages of one length, as cheap as OpenSSL makes it.
class BareSha256 {
 public:
  BareSha256()
      : digest_(::EVP_MD_fetch(nullptr, "SHA256", nullptr)),
        context_(::EVP_MD_CTX_new()) {}

  bool Digest(const std::byte* message, size_t bytes, std::byte* result) {
    return ::EVP_DigestInit_ex2(context_.get(), digest_.get(), nullptr) == 1 &&
           ::EVP_DigestUpdate(context_.get(), message, bytes) == 1 &&
           ::EVP_DigestFinal_ex(context_.get(),
                                reinterpret_cast<unsigned char*>(result),
                                nullptr) == 1;
  }

 private:
  std::unique_ptr<EVP_MD, FreeDigest> digest_;
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
};

}  // namespace

absl::Status BenchHash(const BenchOptions& options, RowSink* sink) {
  const auto groups = ByScale<size_t>(options, 16, 64, 256);
  const auto rounds = ByScale<uint32_t>(options, 3, 9, 25);

  std::vector<uint32_t> tokens(kGroupBlocks * kBlockTokens);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = static_cast<uint32_t>(Mix64(i) % 128'000);
  }
  NamespaceSalt salt;
  FillRandom(salt, 1);
  KeyHasher hasher(salt, 0, kBlockTokens);
  std::vector<BlockKey> keys;
  keys.reserve(kGroupBlocks);
  std::vector<double> block_ns;

  BareSha256 bare;
  std::vector<std::byte> message(kDigestedBytes);
  FillRandom(message, 2);
  std::vector<double> bare_ns;

  const std::vector<Contestant> contestants = {
      {"KeyHasher",
       [&]() -> absl::StatusOr<double> {
         const uint64_t start_ns = NowNs();
         for (size_t i = 0; i < groups; ++i) {
           const uint64_t group_start_ns = NowNs();
           keys.clear();
           hasher.HashBlocks({}, tokens, &keys);
           block_ns.push_back(static_cast<double>(NowNs() - group_start_ns) /
                              kGroupBlocks);
           // Each group hashes what the last one made.
           tokens[0] = static_cast<uint32_t>(keys.back().lo);
         }
         return static_cast<double>(NowNs() - start_ns);
       }},
      {"bare SHA-256",
       [&]() -> absl::StatusOr<double> {
         const uint64_t start_ns = NowNs();
         std::array<std::byte, 32> result;
         for (size_t i = 0; i < groups; ++i) {
           const uint64_t group_start_ns = NowNs();
           for (size_t j = 0; j < kGroupBlocks; ++j) {
             if (!bare.Digest(message.data(), message.size(), result.data())) {
               return absl::InternalError("OpenSSL has no SHA-256");
             }
             message[0] = result[0];
           }
           bare_ns.push_back(static_cast<double>(NowNs() - group_start_ns) /
                             kGroupBlocks);
         }
         return static_cast<double>(NowNs() - start_ns);
       }},
  };
  KVFERRY_RETURN_IF_ERROR(Interleave(contestants, rounds).status());
  if (keys.size() != kGroupBlocks) {
    return absl::InternalError("KeyHasher made too few keys");
  }
  const double p50_ns = Median(block_ns);
  sink->Add(
      Row("hash")
          .Param("block_tokens", kBlockTokens)
          .Latency(p50_ns, Quantile(block_ns, 0.99))
          .LatencyLimit(p50_ns, Median(bare_ns), "SHA-256 of as many bytes")
          .Figure("averaged_over", kGroupBlocks)
          .Figure("digested_bytes", kDigestedBytes));
  return absl::OkStatus();
}

}  // namespace kvferry::bench
