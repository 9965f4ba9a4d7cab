// What the C interface adds to the SDK's hot path.

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "kvferry/client.h"
#include "kvferry/kvferry.h"
#include "tests/integration/client_fixture.h"
#include "tests/unit/sdk/client/allocation_counter.h"

namespace kvferry::test {
namespace {

constexpr uint32_t kKeyCount = 1024;

class MatchCostTest : public ClientFixture {
 protected:
  // Two groups, of which the first has kKeyCount blocks.
  void SetUp() override {
    StartDaemon("64MiB");
    spec_.name = "cost";
    spec_.groups = {OpaqueGroup(16, 4096), OpaqueGroup(16, 4096)};
    spec_.groups[1].name = "second";
    client_ = Attach(Options(spec_));
    keys_ = Keys(1, kKeyCount);
    ASSERT_THAT(ClientFixture::Publish(client_.get(), keys_),
                IsOkAndHolds(kKeyCount));
    second_ = Keys(100'000, 8);
    ASSERT_THAT(ClientFixture::Publish(client_.get(), second_, 1),
                IsOkAndHolds(8u));

    kvf_namespace_spec spec = {};
    spec.size = sizeof(spec);
    spec.name = "cost";
    kvf_attach_options options = {};
    options.size = sizeof(options);
    const std::string path = daemon_->socket_path();
    options.socket_path = path.c_str();
    options.spec = &spec;
    options.flags = KVF_ATTACH_ACCEPT_EXISTING;
    ASSERT_EQ(kvf_client_attach(&options, &c_client_), KVF_OK)
        << kvf_error_message();
    ASSERT_EQ(kvf_prefix_create(&c_prefix_), KVF_OK);
    for (uint32_t g = 0; g < 2; ++g) {
      const std::vector<BlockKey>& keys = g == 0 ? keys_ : second_;
      names_[g] = {.size = sizeof(kvf_group_keys),
                   .keys = reinterpret_cast<const kvf_key*>(keys.data()),
                   .key_count = keys.size(),
                   .group = g,
                   .tail_tokens = 0};
    }
  }

  void TearDown() override {
    kvf_prefix_destroy(c_prefix_);
    kvf_client_close(c_client_);
  }

  NamespaceSpec spec_;
  std::unique_ptr<Client> client_;
  std::vector<BlockKey> keys_;
  std::vector<BlockKey> second_;
  kvf_client* c_client_ = nullptr;
  kvf_prefix* c_prefix_ = nullptr;
  std::array<kvf_group_keys, 2> names_ = {};
};

TEST_F(MatchCostTest, AMatchAllocatesNothing) {
  for (size_t groups : {size_t{1}, size_t{2}}) {
    ASSERT_EQ(kvf_match(c_client_, names_.data(), groups, c_prefix_), KVF_OK);
    ASSERT_GT(kvf_prefix_tokens(c_prefix_), 0u);

    AllocationCounter::Start();
    for (int i = 0; i < 10; ++i) {
      if (kvf_match(c_client_, names_.data(), groups, c_prefix_) != KVF_OK) {
        ADD_FAILURE() << kvf_error_message();
      }
      kvf_prefix_release(c_prefix_);
    }
    EXPECT_EQ(AllocationCounter::Stop(), 0u) << groups << " groups";
  }
}

// Goal    A match through C costs what it costs in C++: the engines' connectors
//         have no other way in.
// Method  The same keys in turns, the fastest of many each: what disturbs the
//         machine can only add. The bound leaves room for a machine that is
//         shared; the figure is printed (docs/performance.md).
TEST_F(MatchCostTest, AMatchCostsWhatItDoesInCpp) {
#ifdef KVFERRY_SANITIZED
  GTEST_SKIP() << "a sanitizer's costs are its own";
#endif
  constexpr int kTurns = 2000;
  PinnedPrefix prefix;
  int64_t cpp_ns = std::numeric_limits<int64_t>::max();
  int64_t c_ns = std::numeric_limits<int64_t>::max();
  for (int i = 0; i < kTurns; ++i) {
    const int64_t start = absl::GetCurrentTimeNanos();
    ASSERT_THAT(client_->Match(keys_, &prefix), IsOk());
    prefix.Release();
    const int64_t between = absl::GetCurrentTimeNanos();
    ASSERT_EQ(kvf_match(c_client_, names_.data(), 1, c_prefix_), KVF_OK);
    kvf_prefix_release(c_prefix_);
    const int64_t end = absl::GetCurrentTimeNanos();
    cpp_ns = std::min(cpp_ns, between - start);
    c_ns = std::min(c_ns, end - between);
  }
  const double ratio = static_cast<double>(c_ns) / static_cast<double>(cpp_ns);
  std::printf("%u keys: C++ %.2f us, C %.2f us, ratio %.3f\n", kKeyCount,
              static_cast<double>(cpp_ns) / 1e3,
              static_cast<double>(c_ns) / 1e3, ratio);
  EXPECT_LT(ratio, 1.2);
}

}  // namespace
}  // namespace kvferry::test
