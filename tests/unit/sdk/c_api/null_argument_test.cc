// Every function of both headers, called with nothing.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "kvferry/kvferry.h"
#include "kvferry/kvferry_admin.h"

namespace kvferry::c_api {
namespace {

struct Refused {
  const char* parameter;  // what the message names first
  std::function<kvf_status()> call;
};

TEST(NullArgumentTest, EveryCallNamesWhatIsNull) {
  const std::vector<Refused> calls = {
      {"key", [] { return kvf_key_to_hex(nullptr, nullptr); }},
      {"hex", [] { return kvf_key_from_hex(nullptr, nullptr); }},
      {"hasher", [] { return kvf_hasher_create(nullptr, 0, nullptr); }},
      {"hasher", [] { return kvf_hasher_create_for(nullptr, 0, 16, nullptr); }},
      {"hasher",
       [] {
         return kvf_hasher_hash_blocks(nullptr, nullptr, nullptr, 0, {},
                                       nullptr, 0, nullptr);
       }},
      {"hasher",
       [] {
         return kvf_hasher_hash_block(nullptr, nullptr, nullptr, 0, {},
                                      nullptr);
       }},
      {"salt",
       [] {
         return kvf_keys_from_digests(nullptr, 0, KVF_DIGEST_OTHER, nullptr, 0,
                                      0, 0, nullptr);
       }},
      {"client", [] { return kvf_client_attach(nullptr, nullptr); }},
      {"kvf_attach_options",
       [] {
         kvf_client* client = nullptr;
         return kvf_client_attach(nullptr, &client);
       }},
      {"client", [] { return kvf_client_info(nullptr, nullptr); }},
      {"client", [] { return kvf_client_group(nullptr, 0, nullptr); }},
      {"client", [] { return kvf_client_clear(nullptr, 0, nullptr); }},
      {"prefix", [] { return kvf_prefix_create(nullptr); }},
      {"client", [] { return kvf_match(nullptr, nullptr, 0, nullptr); }},
      {"prefix", [] { return kvf_prefix_page(nullptr, 0, 0, 0, nullptr); }},
      {"prefix", [] { return kvf_prefix_check(nullptr); }},
      {"client", [] { return kvf_lookup(nullptr, nullptr, 0, nullptr); }},
      {"paged", [] { return kvf_paged_create(nullptr, nullptr); }},
      {"paged", [] { return kvf_paged_gather(nullptr, 0, 0, nullptr, 0, 0); }},
      {"paged", [] { return kvf_paged_scatter(nullptr, 0, 0, nullptr, 0, 0); }},
      {"prefix",
       [] {
         return kvf_prefix_copy_to(nullptr, 0, 0, 0, nullptr, nullptr, 0);
       }},
      {"publication",
       [] { return kvf_publication_open(nullptr, nullptr, nullptr); }},
      {"publication",
       [] {
         return kvf_publication_begin(nullptr, 0, nullptr, nullptr, 0, 0, 0,
                                      nullptr);
       }},
      {"publication",
       [] { return kvf_publication_outcomes(nullptr, 0, 0, nullptr); }},
      {"publication",
       [] { return kvf_publication_page(nullptr, 0, 0, nullptr, nullptr); }},
      {"publication",
       [] {
         return kvf_publication_fill(nullptr, 0, 0, nullptr, nullptr, 0,
                                     nullptr);
       }},
      {"publication",
       [] { return kvf_publication_commit_layers(nullptr, 0, 0, 0); }},
      {"publication", [] { return kvf_publication_commit(nullptr, 0, 0); }},
      {"publication",
       [] { return kvf_publication_commit_and_wait(nullptr, 0, 0, 0); }},
      {"publication",
       [] { return kvf_publication_set_hand_over(nullptr, {}); }},
      {"publication", [] { return kvf_publication_close(nullptr, 0); }},
      {"client",
       [] {
         return kvf_publish(nullptr, 0, nullptr, nullptr, nullptr, 0, 0,
                            nullptr);
       }},
      {"stream", [] { return kvf_stream_create(nullptr); }},
      {"client",
       [] { return kvf_match_stream(nullptr, nullptr, 0, nullptr, nullptr); }},
      {"stream", [] { return kvf_stream_get_state(nullptr, nullptr); }},
      {"stream", [] { return kvf_stream_status(nullptr); }},
      {"stream", [] { return kvf_stream_page(nullptr, 0, 0, nullptr); }},
      {"stream", [] { return kvf_stream_wait_chunk(nullptr, 0, 0); }},
      {"stream", [] { return kvf_stream_wait_layer(nullptr, 0, 0, 0); }},
      {"stream", [] { return kvf_stream_wait_committed(nullptr, 0); }},
      {"stream", [] { return kvf_stream_wait_change(nullptr, 0); }},
      {"stream", [] { return kvf_stream_event_fd(nullptr, nullptr); }},
      {"stream",
       [] {
         return kvf_stream_pull_some(nullptr, nullptr, nullptr, nullptr,
                                     nullptr);
       }},
      {"stream",
       [] {
         return kvf_stream_pull_to(nullptr, nullptr, nullptr, nullptr, 0);
       }},
      {"stream",
       [] {
         return kvf_stream_pull_to_paged(nullptr, nullptr, nullptr, nullptr, 0);
       }},
      {"stream",
       [] { return kvf_stream_hand_over(nullptr, nullptr, 0, nullptr); }},
      {"client",
       [] {
         return kvf_ticket_mint(nullptr, nullptr, 0, nullptr, 0, nullptr,
                                nullptr);
       }},
      {"content", [] { return kvf_ticket_redeem(nullptr, nullptr, nullptr); }},
      {"content", [] { return kvf_ticket_content_get(nullptr, nullptr); }},
      {"client", [] { return kvf_ticket_release(nullptr, nullptr); }},
      {"text", [] { return kvf_ticket_to_text(nullptr, nullptr); }},
      {"text", [] { return kvf_ticket_from_text(nullptr, nullptr); }},
      {"admin", [] { return kvf_admin_connect(nullptr, 0, nullptr); }},
      {"admin", [] { return kvf_admin_status(nullptr, nullptr); }},
      {"list", [] { return kvf_admin_namespaces(nullptr, nullptr); }},
      {"list", [] { return kvf_admin_sessions(nullptr, nullptr); }},
      {"list",
       [] { return kvf_admin_blocks(nullptr, nullptr, nullptr, 0, nullptr); }},
      {"list", [] { return kvf_admin_list_namespace(nullptr, 0, nullptr); }},
      {"list",
       [] { return kvf_admin_list_group(nullptr, 0, 0, nullptr, nullptr); }},
      {"list", [] { return kvf_admin_list_session(nullptr, 0, nullptr); }},
      {"list", [] { return kvf_admin_list_block(nullptr, 0, nullptr); }},
      {"admin", [] { return kvf_admin_create_namespace(nullptr, nullptr, 0); }},
      {"admin",
       [] {
         return kvf_admin_evict(nullptr, nullptr, nullptr, 0, nullptr, nullptr);
       }},
      {"admin",
       [] { return kvf_admin_clear(nullptr, nullptr, nullptr, nullptr); }},
  };
  for (size_t i = 0; i < calls.size(); ++i) {
    EXPECT_EQ(calls[i].call(), KVF_INVALID_ARGUMENT) << "call " << i;
    EXPECT_EQ(kvf_error_message(), std::string(calls[i].parameter) + " is null")
        << "call " << i;
  }
}

TEST(NullArgumentTest, CallsWithoutAStatusAnswerNothing) {
  EXPECT_EQ(kvf_client_connected(nullptr), 0);
  EXPECT_EQ(kvf_prefix_tokens(nullptr), 0u);
  EXPECT_EQ(kvf_prefix_first_block(nullptr, 0), 0u);
  EXPECT_EQ(kvf_prefix_block_count(nullptr, 0), 0u);
  EXPECT_EQ(kvf_publication_size(nullptr), 0u);
  EXPECT_EQ(kvf_stream_poll(nullptr), 0);
  EXPECT_EQ(kvf_stream_confirm(nullptr, 1), 0u);
  EXPECT_EQ(kvf_admin_list_count(nullptr), 0u);
}

TEST(NullArgumentTest, DestroyingNothingDoesNothing) {
  kvf_hasher_destroy(nullptr);
  kvf_client_close(nullptr);
  kvf_prefix_release(nullptr);
  kvf_prefix_destroy(nullptr);
  kvf_paged_destroy(nullptr);
  kvf_publication_abort(nullptr);
  kvf_publication_destroy(nullptr);
  kvf_stream_release(nullptr);
  kvf_stream_destroy(nullptr);
  kvf_ticket_content_destroy(nullptr);
  kvf_admin_list_destroy(nullptr);
  kvf_admin_close(nullptr);
  kvf_copy(nullptr, nullptr, 0);
}

TEST(NullArgumentTest, EmptyHandlesAnswerAsEmptyObjectsDo) {
  kvf_prefix* prefix = nullptr;
  ASSERT_EQ(kvf_prefix_create(&prefix), KVF_OK);
  kvf_bytes page = {};
  EXPECT_EQ(kvf_prefix_tokens(prefix), 0u);
  EXPECT_EQ(kvf_prefix_page(prefix, 0, 0, 0, &page), KVF_OUT_OF_RANGE);
  EXPECT_EQ(kvf_prefix_check(prefix), KVF_OK);
  kvf_prefix_release(prefix);
  kvf_prefix_destroy(prefix);

  kvf_stream* stream = nullptr;
  ASSERT_EQ(kvf_stream_create(&stream), KVF_OK);
  kvf_stream_state state = {};
  state.size = sizeof(state);
  EXPECT_EQ(kvf_stream_get_state(stream, &state), KVF_OK);
  EXPECT_EQ(state.done, 1u);
  EXPECT_EQ(kvf_stream_status(stream), KVF_OK);
  EXPECT_EQ(kvf_stream_wait_change(stream, 0), KVF_FAILED_PRECONDITION);
  EXPECT_EQ(kvf_stream_page(stream, 0, 0, &page), KVF_OK);
  EXPECT_EQ(page.data, nullptr);
  int copied = 7;
  const auto copy = [](void*, uint32_t, uint32_t, uint32_t, uint32_t,
                       kvf_bytes) {};
  EXPECT_EQ(kvf_stream_pull_some(stream, nullptr, copy, nullptr, &copied),
            KVF_OK);
  EXPECT_EQ(copied, 0);
  EXPECT_EQ(kvf_stream_pull_to(stream, nullptr, copy, nullptr, 0),
            KVF_FAILED_PRECONDITION);
  kvf_stream_release(stream);
  kvf_stream_destroy(stream);
}

TEST(NullArgumentTest, AFailureLeavesNoHandle) {
  kvf_client* client = reinterpret_cast<kvf_client*>(1);
  kvf_attach_options options = {};
  EXPECT_EQ(kvf_client_attach(&options, &client), KVF_INVALID_ARGUMENT);
  EXPECT_EQ(client, nullptr);
  EXPECT_THAT(kvf_error_message(),
              testing::HasSubstr("kvf_attach_options.size is 0"));
}

}  // namespace
}  // namespace kvferry::c_api
