#ifndef KVFERRY_TESTS_INTEGRATION_RAW_PUBLISHING_FIXTURE_H_
#define KVFERRY_TESTS_INTEGRATION_RAW_PUBLISHING_FIXTURE_H_

#include <cstdint>
#include <span>
#include <vector>

#include "tests/integration/hostile_client_fixture.h"

namespace kvferry::test {

// A publication as its writer's kOpened names it.
struct OpenedPublication {
  uint32_t slot = 0;
  uint32_t generation = 0;
  uint32_t record = 0;
};

// Publishing by hand: records into the ring, progress into the file.
class RawPublishingTest : public HostileClientTest {
 protected:
  void SetUp() override {
    HostileClientTest::SetUp();
    // Those of the test before end once the daemon has looked at their locks.
    ASSERT_TRUE(Becomes([] { return OtherSessions() == 0; }));
    // Else there may be no space for the first blocks yet.
    ASSERT_TRUE(
        Becomes([] { return Status().used_bytes == uint64_t{16} << 20; }));
  }

  // Keys that nobody else has.
  static std::vector<BlockKey> NewKeys(uint32_t count) {
    std::vector<BlockKey> keys;
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t n = ++last_key_;
      keys.push_back({n * 0x9e37'79b9'7f4a'7c15, n * 0xc2b2'ae3d'27d4'eb4f});
    }
    return keys;
  }
  static OpenedPublication Open(RawSession& session, uint32_t handle,
                                uint32_t stall_ms = 0) {
    session.PostOpen(handle, ++last_publication_, stall_ms);
    session.RingDoorbell();
    const auto reply = session.TakeReply(protocol::ReplyType::kOpened);
    EXPECT_THAT(reply, IsOk());
    if (!reply.ok()) return {};
    EXPECT_EQ(reply->handle, handle);
    EXPECT_NE(reply->count, 0u);
    return {reply->first, reply->count, reply->blocks[0]};
  }
  // At most as many keys as one reply has blocks; all become the session's.
  static void Begin(RawSession& session, uint32_t handle, uint32_t first,
                    std::span<const BlockKey> keys) {
    session.PostBegin(handle, first, keys);
    session.RingDoorbell();
    const auto reply = session.TakeReply(protocol::ReplyType::kAnswerBlocks);
    ASSERT_THAT(reply, IsOk());
    ASSERT_EQ(reply->count, keys.size());
  }
  // What an SDK does when the first `positions` blocks are written.
  static void SetProgress(RawSession& session, const OpenedPublication& opened,
                          uint32_t positions) {
    protocol::ProgressRecord& record = session.progress_record(opened.record);
    record.word.store(protocol::PackProgress({.generation = opened.generation,
                                              .positions = positions,
                                              .layers = 0}));
    record.changes.fetch_add(1);
  }
  // Counters of Spec()'s namespace.
  static wire::NamespaceStatusT Namespace() {
    RawClient client = Connect();
    auto message = client.Call(wire::GetNamespacesT());
    EXPECT_THAT(message, IsOk());
    if (message.ok()) {
      for (auto& status : message->body.AsNamespaces()->namespaces) {
        if (status->spec->name == Spec().name) return *status;
      }
    }
    ADD_FAILURE() << "there is no namespace " << Spec().name;
    return {};
  }

 private:
  static inline uint64_t last_key_ = 0;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_INTEGRATION_RAW_PUBLISHING_FIXTURE_H_
