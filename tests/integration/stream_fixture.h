#ifndef KVFERRY_TESTS_INTEGRATION_STREAM_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_STREAM_FIXTURE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/client_fixture.h"
#include "tests/support/stream_payload.h"
#include "tests/support/stream_peer.h"

namespace kvferry::test {

// A daemon, readers in this process, and publishers in processes of their own.
class StreamFixture : public ClientFixture {
 protected:
  static constexpr uint32_t kLayers = 4;
  static constexpr uint32_t kLayerBytes = 1024;
  static constexpr uint32_t kTokens = 16;
  // How long a waiter may stay with a publisher that is gone.
#ifdef KVFERRY_SANITIZED
  // Instrumented daemon and reader run many times slower, on cores that other
  // tests use at the same time; the contract is about neither.
  static constexpr absl::Duration kReleased = absl::Seconds(5);
#else
  static constexpr absl::Duration kReleased = absl::Seconds(1);
#endif

  void SetUp() override { StartDaemon(); }

  static NamespaceSpec LayeredSpec(uint32_t slices = 1,
                                   uint32_t layers = kLayers) {
    NamespaceSpec spec = Spec();
    GroupSpec& group = spec.groups[0];
    group = GroupSpec();
    group.block_tokens = kTokens;
    group.layer_count = layers;
    group.head_bytes = kLayerBytes / kTokens / group.kv_count;
    group.slice_count = slices;
    return spec;
  }

  std::unique_ptr<Client> Join(const NamespaceSpec& spec = LayeredSpec()) {
    return Attach(Options(spec));
  }
  // After the first Join, which makes the namespace.
  std::unique_ptr<StreamPeer> Peer() {
    auto peer = StreamPeer::Start(daemon_->socket_path(), "model");
    EXPECT_THAT(peer, IsOk());
    return peer.ok() ? *std::move(peer) : nullptr;
  }

  // The deadline of waits that end by themselves.
  static absl::Time Soon() { return absl::Now() + absl::Seconds(20); }

  // Waits until the daemon has taken in that all of `keys` are on their way.
  static bool AreComing(Client* client, const std::vector<BlockKey>& keys) {
    return Eventually([&] {
      const auto found = client->Lookup(keys);
      return found.ok() && found->coming_tokens == keys.size() * kTokens;
    });
  }

  // Whether every block that is ok has the bytes of its key.
  static bool OkBlocksAreRight(const PrefixStream& stream,
                               const std::vector<BlockKey>& keys,
                               uint32_t slices = 1) {
    for (uint32_t b = 0; b < stream.ok_blocks(); ++b) {
      for (uint32_t s = 0; s < slices; ++s) {
        if (!IsPayload(keys[b], s, 0, stream.page(b, s))) return false;
      }
    }
    return true;
  }
  // Whether the layers that the stream says are there have their bytes.
  static bool LayersAreRight(const PrefixStream& stream,
                             const std::vector<BlockKey>& keys) {
    for (uint32_t b = stream.ok_blocks(); b < stream.layered_end(); ++b) {
      if (!IsPayload(keys[b], 0, 0,
                     stream.page(b).first(stream.ok_layers() * kLayerBytes))) {
        return false;
      }
    }
    return true;
  }

  // How many blocks a match without streaming hits.
  static uint32_t Hits(Client* client, const std::vector<BlockKey>& keys) {
    PinnedPrefix prefix;
    EXPECT_THAT(client->Match(keys, &prefix), IsOk());
    return prefix.block_count();
  }

  NamespaceStatus Counts() const {
    auto namespaces = Admin()->Namespaces();
    EXPECT_THAT(namespaces, IsOk());
    return namespaces.ok() && !namespaces->empty() ? (*namespaces)[0]
                                                   : NamespaceStatus();
  }
  GroupStatus Blocks() const {
    const NamespaceStatus counts = Counts();
    return counts.groups.empty() ? GroupStatus() : counts.groups[0];
  }
  // Waits until no block is being written or rests: all memory is back.
  bool MemoryIsBack() const {
    auto admin = Admin();
    return Eventually([&admin] {
      const auto namespaces = admin->Namespaces();
      if (!namespaces.ok() || namespaces->size() != 1) return false;
      const GroupStatus& group = (*namespaces)[0].groups[0];
      return group.publishing == 0 && group.quarantined == 0 &&
             group.free + group.granted + group.ready == group.present;
    });
  }
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_STREAM_FIXTURE_H_
