#ifndef KVFERRY_TESTS_INTEGRATION_CLIENT_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_CLIENT_FIXTURE_H_

#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "kvferry/admin.h"
#include "kvferry/client.h"
#include "tests/support/daemon_process.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {

// Looks again until `condition` holds. False when `limit` passed first.
inline bool Eventually(const std::function<bool()>& condition,
                       absl::Duration limit = absl::Seconds(10)) {
  const absl::Time deadline = absl::Now() + limit;
  while (!condition()) {
    if (absl::Now() >= deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

inline std::vector<BlockKey> Keys(uint64_t first, uint64_t count) {
  std::vector<BlockKey> keys;
  for (uint64_t n = first; n < first + count; ++n) {
    keys.push_back(NumberedKey(n));
  }
  return keys;
}

// The bytes that a page must have: a function of its key and slice.
inline std::vector<std::byte> PageOf(const BlockKey& key, uint32_t slice,
                                     uint64_t bytes) {
  std::vector<std::byte> page(bytes);
  uint64_t word = key.lo ^ (key.hi * (slice + 1));
  for (uint64_t at = 0; at + sizeof(word) <= bytes; at += sizeof(word)) {
    word = word * 6364136223846793005 + 1442695040888963407;
    std::memcpy(page.data() + at, &word, sizeof(word));
  }
  return page;
}

inline bool IsPageOf(std::span<const std::byte> page, const BlockKey& key,
                     uint32_t slice) {
  const std::vector<std::byte> expected = PageOf(key, slice, page.size());
  return !page.empty() &&
         std::memcmp(page.data(), expected.data(), page.size()) == 0;
}

// A daemon and clients of one namespace with opaque pages.
class ClientFixture : public testing::Test {
 protected:
  static constexpr uint64_t kPageBytes = 16 * 1024;

  void StartDaemon(const std::string& pool_size = "64MiB",
                   std::vector<std::string> extra_args = {}) {
    auto daemon = DaemonProcess::Start(
        {.pool_size = pool_size, .extra_args = std::move(extra_args)});
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);
  }

  static NamespaceSpec Spec(const std::string& name = "model",
                            uint64_t page_bytes = kPageBytes,
                            uint32_t slice_count = 1) {
    NamespaceSpec spec;
    spec.name = name;
    spec.model = "test";
    spec.revision = "1";
    spec.dtype = "bf16";
    spec.groups.push_back(OpaqueGroup(16, page_bytes, slice_count));
    return spec;
  }

  AttachOptions Options(const NamespaceSpec& spec = Spec()) const {
    AttachOptions options;
    options.socket_path = daemon_->socket_path();
    options.spec = spec;
    options.client_name = "test";
    return options;
  }

  std::unique_ptr<Client> Attach(const AttachOptions& options) const {
    auto client = Client::Attach(options);
    EXPECT_THAT(client, IsOk());
    return client.ok() ? *std::move(client) : nullptr;
  }
  std::unique_ptr<Client> Attach() const { return Attach(Options()); }

  std::unique_ptr<AdminClient> Admin() const {
    auto admin =
        AdminClient::Connect(daemon_->socket_path(), absl::Seconds(10));
    EXPECT_THAT(admin, IsOk());
    return *std::move(admin);
  }

  // Publishes blocks with the bytes of PageOf; returns how many are visible.
  static absl::StatusOr<uint32_t> Publish(Client* client,
                                          const std::vector<BlockKey>& keys,
                                          uint32_t group = 0,
                                          const BlockKey& parent = {}) {
    const GroupSpec spec = client->info().spec.groups[group];
    std::vector<std::vector<std::byte>> blocks;
    std::vector<const std::byte*> sources;
    for (const BlockKey& key : keys) {
      auto& block = blocks.emplace_back();
      for (uint32_t slice = 0; slice < spec.slice_count; ++slice) {
        const std::vector<std::byte> page =
            PageOf(key, slice, spec.page_bytes());
        block.insert(block.end(), page.begin(), page.end());
      }
    }
    for (const auto& block : blocks) sources.push_back(block.data());
    return client->Publish(group, parent, keys, sources);
  }

  // Whether every pinned page of one group has the bytes of its key.
  static bool PagesAreRight(const PinnedPrefix& prefix,
                            const std::vector<BlockKey>& keys,
                            uint32_t slices = 1, uint32_t group = 0) {
    const uint32_t first = prefix.first_block(group);
    for (uint32_t i = 0; i < prefix.block_count(group); ++i) {
      for (uint32_t slice = 0; slice < slices; ++slice) {
        if (!IsPageOf(prefix.page(first + i, slice, group), keys[first + i],
                      slice)) {
          return false;
        }
      }
    }
    return true;
  }

  std::unique_ptr<DaemonProcess> daemon_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_CLIENT_FIXTURE_H_
