// The C interface in a forked child, and when the daemon goes away.

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "kvferry/kvferry.h"
#include "kvferry/kvferry_admin.h"
#include "kvferry/kvferry_gpu.h"
#include "tests/support/small_daemon.h"
#include "tests/support/status_matchers.h"

namespace kvferry::test {
namespace {

using testing::HasSubstr;

constexpr int64_t kSecond = 1'000'000'000;
constexpr uint32_t kCount = 3;
constexpr size_t kPageBytes = 4096;

template <typename T>
T Sized() {
  T value = {};
  value.size = sizeof(value);
  return value;
}

class CFaultTest : public testing::Test {
 protected:
  void SetUp() override {
    auto daemon = DaemonProcess::Start(SmallDaemon());
    ASSERT_THAT(daemon, IsOk());
    daemon_ = *std::move(daemon);
    group_.size = sizeof(group_);
    group_.name = "full";
    group_.block_tokens = 16;
    group_.layer_count = 1;
    group_.kv_count = 1;
    group_.head_count = 1;
    group_.head_bytes = kPageBytes / 16;
    group_.slice_count = 1;
    client_ = Attach();
    for (uint64_t i = 0; i < keys_.size(); ++i) {
      keys_[i] = {i + 1, (i + 1) * 0x9e3779b97f4a7c15};
    }
    names_.size = sizeof(names_);
    names_.keys = keys_.data();
    names_.key_count = kCount;
    for (size_t i = 0; i < page_.size(); ++i) page_[i] = uint8_t(i * 3);
    const std::vector<const void*> sources(kCount, page_.data());
    uint32_t visible = 0;
    ASSERT_EQ(kvf_publish(client_, 0, nullptr, keys_.data(), sources.data(),
                          kCount, 5 * kSecond, &visible),
              KVF_OK);
    ASSERT_EQ(visible, kCount);
    ASSERT_EQ(kvf_prefix_create(&prefix_), KVF_OK);
    ASSERT_EQ(kvf_match(client_, &names_, 1, prefix_), KVF_OK);
    ASSERT_EQ(kvf_prefix_tokens(prefix_), 48u);
    OpenGpu();
    ASSERT_EQ(kvf_publication_open(client_, nullptr, &publication_), KVF_OK);
    uint32_t first = 0;
    ASSERT_EQ(kvf_publication_begin(publication_, 0, nullptr, &keys_[kCount], 1,
                                    0, 5 * kSecond, &first),
              KVF_OK);
    ASSERT_EQ(kvf_stream_create(&stream_), KVF_OK);
    ASSERT_EQ(kvf_match_stream(client_, keys_.data(), kCount, nullptr, stream_),
              KVF_OK);
    ASSERT_EQ(kvf_ticket_mint(client_, nullptr, 0, keys_.data(), kCount,
                              nullptr, &ticket_),
              KVF_OK);
    ASSERT_EQ(kvf_ticket_redeem(client_, &ticket_, &content_), KVF_OK);
    ASSERT_EQ(kvf_hasher_create(client_, 0, &hasher_), KVF_OK);
    ASSERT_EQ(
        kvf_admin_connect(daemon_->socket_path().c_str(), 5 * kSecond, &admin_),
        KVF_OK);
  }

  void TearDown() override { DestroyAll(); }

  // Opens the emulated device, which the daemon does not serve, and pulls a
  // block from host memory.
  void OpenGpu() {
    kvf_gpu_options options = Sized<kvf_gpu_options>();
    options.device = "emulated:0";
    ASSERT_EQ(kvf_gpu_open(client_, &options, &gpu_), KVF_OK)
        << kvf_error_message();
    kvf_paged_layer layer = Sized<kvf_paged_layer>();
    layer.base = memory_.data();
    layer.block_stride = kPageBytes;
    layer.token_stride = kPageBytes / 16;
    kvf_paged_options paged = Sized<kvf_paged_options>();
    paged.group = &group_;
    paged.layers = &layer;
    paged.layer_count = 1;
    paged.block_count = 1;
    paged.flags = KVF_PAGED_DEVICE;
    ASSERT_EQ(kvf_paged_create(&paged, &paged_), KVF_OK);
    blocks_.paged = paged_;
    blocks_.engine_blocks = &engine_block_;
    blocks_.count = 1;
    kvf_prefix* prefix = nullptr;
    ASSERT_EQ(kvf_prefix_create(&prefix), KVF_OK);
    ASSERT_EQ(kvf_match(client_, &names_, 1, prefix), KVF_OK);
    EXPECT_EQ(
        kvf_gpu_pull(gpu_, prefix, &blocks_, 1, nullptr, nullptr, &transfer_),
        KVF_OK)
        << kvf_error_message();
    EXPECT_EQ(kvf_transfer_wait(transfer_, 10 * kSecond), KVF_OK);
    EXPECT_EQ(memory_, page_);
    kvf_prefix_destroy(prefix);
  }

  // The client first: the others keep what they need of it.
  void DestroyAll() {
    kvf_client_close(client_);
    kvf_hasher_destroy(hasher_);
    kvf_ticket_content_destroy(content_);
    kvf_stream_destroy(stream_);
    kvf_publication_destroy(publication_);
    kvf_prefix_destroy(prefix_);
    kvf_gpu_close(gpu_);
    kvf_transfer_destroy(transfer_);
    kvf_paged_destroy(paged_);
    kvf_admin_close(admin_);
  }

  kvf_client* Attach() {
    kvf_namespace_spec spec = {};
    spec.size = sizeof(spec);
    spec.name = "faults";
    spec.groups = &group_;
    spec.group_count = 1;
    kvf_attach_options options = {};
    options.size = sizeof(options);
    const std::string path = daemon_->socket_path();
    options.socket_path = path.c_str();
    options.spec = &spec;
    kvf_client* client = nullptr;
    EXPECT_EQ(kvf_client_attach(&options, &client), KVF_OK)
        << kvf_error_message();
    return client;
  }

  // Every call that takes a handle, by name.
  struct Call {
    const char* name;
    std::function<kvf_status()> call;
  };
  std::vector<Call> CallsOnHandles();

  std::unique_ptr<DaemonProcess> daemon_;
  kvf_group_spec group_ = {};
  std::array<kvf_key, kCount + 1> keys_;
  std::array<uint8_t, kPageBytes> page_;
  std::array<uint8_t, kPageBytes> memory_ = {};  // the engine's
  uint64_t engine_block_ = 0;
  kvf_gpu_blocks blocks_ = Sized<kvf_gpu_blocks>();
  kvf_group_keys names_ = {};
  kvf_client* client_ = nullptr;
  kvf_prefix* prefix_ = nullptr;
  kvf_publication* publication_ = nullptr;
  kvf_stream* stream_ = nullptr;
  kvf_ticket_content* content_ = nullptr;
  kvf_hasher* hasher_ = nullptr;
  kvf_admin* admin_ = nullptr;
  kvf_gpu* gpu_ = nullptr;
  kvf_transfer* transfer_ = nullptr;
  kvf_paged* paged_ = nullptr;
  kvf_ticket ticket_ = {};
  // What the calls fill.
  kvf_namespace_info info_ = Sized<kvf_namespace_info>();
  kvf_group_spec spec_ = Sized<kvf_group_spec>();
  kvf_lookup_result lookup_ = Sized<kvf_lookup_result>();
  kvf_stream_state state_ = Sized<kvf_stream_state>();
  kvf_ticket_content_info content_info_ = Sized<kvf_ticket_content_info>();
  kvf_daemon_status daemon_status_ = Sized<kvf_daemon_status>();
  kvf_gpu_info gpu_info_ = Sized<kvf_gpu_info>();
  kvf_gpu* made_gpu_ = nullptr;
  kvf_transfer* made_transfer_ = nullptr;
  kvf_bytes bytes_ = {};
  kvf_key key_ = {};
  void* target_ = nullptr;
  size_t length_ = 0;
  uint32_t number_ = 0;
  uint8_t outcome_ = 0;
  int fd_ = -1;
  kvf_hasher* made_hasher_ = nullptr;
  kvf_publication* made_publication_ = nullptr;
  kvf_ticket_content* made_content_ = nullptr;
  kvf_admin_list* made_list_ = nullptr;
};

void CopyNowhere(void*, uint32_t, uint32_t, uint32_t, uint32_t, kvf_bytes) {}

std::vector<CFaultTest::Call> CFaultTest::CallsOnHandles() {
  return {
      {"hasher_create",
       [this] { return kvf_hasher_create(client_, 0, &made_hasher_); }},
      {"client_info", [this] { return kvf_client_info(client_, &info_); }},
      {"client_group", [this] { return kvf_client_group(client_, 0, &spec_); }},
      {"client_clear",
       [this] { return kvf_client_clear(client_, kSecond, nullptr); }},
      {"match", [this] { return kvf_match(client_, &names_, 1, prefix_); }},
      {"lookup", [this] { return kvf_lookup(client_, &names_, 1, &lookup_); }},
      {"publish",
       [this] {
         const void* source = page_.data();
         return kvf_publish(client_, 0, nullptr, &keys_[kCount], &source, 1,
                            kSecond, nullptr);
       }},
      {"prefix_page",
       [this] { return kvf_prefix_page(prefix_, 0, 0, 0, &bytes_); }},
      {"prefix_check", [this] { return kvf_prefix_check(prefix_); }},
      // The handle is asked first: there need be no memory to copy to.
      {"prefix_copy_to",
       [this] {
         return kvf_prefix_copy_to(prefix_, 0, 0, 0, nullptr, nullptr, 0);
       }},
      {"publication_fill",
       [this] {
         return kvf_publication_fill(publication_, 0, 0, nullptr, nullptr, 0,
                                     nullptr);
       }},
      {"stream_pull_to_paged",
       [this] {
         return kvf_stream_pull_to_paged(stream_, nullptr, nullptr, nullptr, 0);
       }},
      {"publication_open",
       [this] {
         return kvf_publication_open(client_, nullptr, &made_publication_);
       }},
      {"publication_begin",
       [this] {
         return kvf_publication_begin(publication_, 0, nullptr, keys_.data(), 1,
                                      0, kSecond, &number_);
       }},
      {"publication_outcomes",
       [this] {
         return kvf_publication_outcomes(publication_, 0, 1, &outcome_);
       }},
      {"publication_page",
       [this] {
         return kvf_publication_page(publication_, 0, 0, &target_, &length_);
       }},
      {"publication_commit_layers",
       [this] { return kvf_publication_commit_layers(publication_, 0, 1, 1); }},
      {"publication_commit",
       [this] { return kvf_publication_commit(publication_, 0, 1); }},
      {"publication_commit_and_wait",
       [this] {
         return kvf_publication_commit_and_wait(publication_, 0, 1, kSecond);
       }},
      {"publication_set_hand_over",
       [this] { return kvf_publication_set_hand_over(publication_, {}); }},
      {"publication_close",
       [this] { return kvf_publication_close(publication_, kSecond); }},
      {"match_stream",
       [this] {
         return kvf_match_stream(client_, keys_.data(), 1, nullptr, stream_);
       }},
      {"stream_get_state",
       [this] { return kvf_stream_get_state(stream_, &state_); }},
      {"stream_status", [this] { return kvf_stream_status(stream_); }},
      {"stream_page",
       [this] { return kvf_stream_page(stream_, 0, 0, &bytes_); }},
      {"stream_wait_chunk",
       [this] { return kvf_stream_wait_chunk(stream_, 1, kSecond); }},
      {"stream_wait_layer",
       [this] { return kvf_stream_wait_layer(stream_, 1, 1, kSecond); }},
      {"stream_wait_committed",
       [this] { return kvf_stream_wait_committed(stream_, kSecond); }},
      {"stream_wait_change",
       [this] { return kvf_stream_wait_change(stream_, kSecond); }},
      {"stream_event_fd",
       [this] { return kvf_stream_event_fd(stream_, &fd_); }},
      {"stream_pull_some",
       [this] {
         return kvf_stream_pull_some(stream_, nullptr, CopyNowhere, nullptr,
                                     nullptr);
       }},
      {"stream_pull_to",
       [this] {
         return kvf_stream_pull_to(stream_, nullptr, CopyNowhere, nullptr,
                                   kSecond);
       }},
      {"stream_hand_over",
       [this] { return kvf_stream_hand_over(stream_, nullptr, 0, &length_); }},
      {"ticket_mint",
       [this] {
         return kvf_ticket_mint(client_, nullptr, 0, keys_.data(), 1, nullptr,
                                &ticket_);
       }},
      {"ticket_redeem",
       [this] { return kvf_ticket_redeem(client_, &ticket_, &made_content_); }},
      {"ticket_content_get",
       [this] { return kvf_ticket_content_get(content_, &content_info_); }},
      {"ticket_release",
       [this] { return kvf_ticket_release(client_, &ticket_); }},
      {"gpu_open",
       [this] { return kvf_gpu_open(client_, nullptr, &made_gpu_); }},
      {"gpu_get_info", [this] { return kvf_gpu_get_info(gpu_, &gpu_info_); }},
      {"gpu_check_pool", [this] { return kvf_gpu_check_pool(gpu_); }},
      {"gpu_pull",
       [this] {
         return kvf_gpu_pull(gpu_, prefix_, &blocks_, 1, nullptr, nullptr,
                             &made_transfer_);
       }},
      {"gpu_follow",
       [this] {
         return kvf_gpu_follow(gpu_, stream_, &blocks_, nullptr, nullptr,
                               &made_transfer_);
       }},
      {"gpu_publish",
       [this] {
         return kvf_gpu_publish(gpu_, publication_, &blocks_, nullptr, nullptr,
                                &made_transfer_);
       }},
      {"gpu_prefix_page",
       [this] {
         return kvf_gpu_prefix_page(gpu_, prefix_, 0, 0, 0, &target_);
       }},
      {"gpu_publication_page",
       [this] {
         return kvf_gpu_publication_page(gpu_, publication_, 0, 0, &target_);
       }},
      {"transfer_status", [this] { return kvf_transfer_status(transfer_); }},
      {"transfer_wait",
       [this] { return kvf_transfer_wait(transfer_, kSecond); }},
      {"transfer_order_after",
       [this] { return kvf_transfer_order_after(transfer_, nullptr, 0); }},
      {"transfer_skipped",
       [this] {
         return kvf_transfer_skipped(transfer_, nullptr, 0, &length_);
       }},
      {"admin_status",
       [this] { return kvf_admin_status(admin_, &daemon_status_); }},
      {"admin_sessions",
       [this] { return kvf_admin_sessions(admin_, &made_list_); }},
      {"admin_clear",
       [this] { return kvf_admin_clear(admin_, "faults", nullptr, nullptr); }},
  };
}

// What the child has to say; it must not run the parent's test framework.
[[noreturn]] void ChildFails(const std::string& what) {
  (void)!::write(STDERR_FILENO, what.data(), what.size());
  ::_exit(1);
}

// Goal    A forked child gets an answer from every call on a parent's handle,
//         destroys them all, attaches anew, and the parent notices nothing.
// Method  The child ends with what went wrong as its exit code and a line.
TEST_F(CFaultTest, AForkedChildIsRefusedAndMayDestroy) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (const Call& call : CallsOnHandles()) {
      const kvf_status status = call.call();
      if (status == KVF_FAILED_PRECONDITION) continue;
      ChildFails(std::string(call.name) + " answers " +
                 kvf_status_name(status) + "\n");
    }
    if (kvf_client_connected(client_) != 0 || kvf_prefix_tokens(prefix_) != 0 ||
        kvf_prefix_block_count(prefix_, 0) != 0 ||
        kvf_publication_size(publication_) != 0 ||
        kvf_stream_poll(stream_) != 0 || kvf_stream_confirm(stream_, 1) != 0 ||
        kvf_prefix_residence(prefix_, 0, 0) != 0 ||
        kvf_publication_residence(publication_, 0) != 0 ||
        kvf_transfer_done(transfer_) != 0 ||
        kvf_transfer_bytes(transfer_) != 0) {
      ChildFails("a call without a status answers more than nothing\n");
    }
    kvf_prefix_release(prefix_);
    kvf_publication_abort(publication_);
    kvf_stream_release(stream_);
    // Memory alone.
    const std::array<uint32_t, 16> tokens = {1, 2, 3};
    if (kvf_hasher_hash_block(hasher_, nullptr, tokens.data(), tokens.size(),
                              {}, &key_) != KVF_OK) {
      ChildFails("a hasher does not work\n");
    }
    DestroyAll();
    // A session of the child's own.
    kvf_client* const client = Attach();
    kvf_prefix* prefix = nullptr;
    if (kvf_prefix_create(&prefix) != KVF_OK ||
        kvf_match(client, &names_, 1, prefix) != KVF_OK ||
        kvf_prefix_tokens(prefix) != 48) {
      ChildFails("a client of the child's own does not hit\n");
    }
    kvf_client_close(client);
    kvf_prefix_destroy(prefix);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);

  // The parent's are what they were.
  EXPECT_EQ(kvf_client_connected(client_), 1);
  EXPECT_EQ(kvf_prefix_check(prefix_), KVF_OK);
  ASSERT_EQ(kvf_prefix_page(prefix_, 1, 0, 0, &bytes_), KVF_OK);
  EXPECT_EQ(std::memcmp(bytes_.data, page_.data(), kPageBytes), 0);
  ASSERT_EQ(kvf_publication_page(publication_, 0, 0, &target_, &length_),
            KVF_OK);
  ASSERT_NE(target_, nullptr);
  std::memcpy(target_, page_.data(), kPageBytes);
  EXPECT_EQ(kvf_publication_commit_and_wait(publication_, 0, 1, 5 * kSecond),
            KVF_OK);
  EXPECT_EQ(kvf_stream_wait_committed(stream_, 5 * kSecond), KVF_OK);
  EXPECT_EQ(kvf_admin_status(admin_, &daemon_status_), KVF_OK);
  EXPECT_EQ(daemon_status_.session_count, 1u);
}

// Goal    A daemon that was killed is an answer: what was pinned can be read,
//         what needs the daemon says so, and a new one is found again.
// Method  Kill and restart it below open handles.
TEST_F(CFaultTest, ADaemonThatGoesAwayIsAnAnswer) {
  daemon_->Kill();

  EXPECT_EQ(kvf_prefix_check(prefix_), KVF_OK);
  ASSERT_EQ(kvf_prefix_page(prefix_, 2, 0, 0, &bytes_), KVF_OK);
  EXPECT_EQ(std::memcmp(bytes_.data, page_.data(), kPageBytes), 0);
  EXPECT_EQ(kvf_match(client_, &names_, 1, prefix_), KVF_OK);
  EXPECT_EQ(kvf_prefix_tokens(prefix_), 48u);
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (kvf_client_connected(client_) != 0 && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(kvf_publication_open(client_, nullptr, &made_publication_),
            KVF_UNAVAILABLE);
  EXPECT_THAT(kvf_error_message(), HasSubstr("the daemon is away"));
  EXPECT_EQ(made_publication_, nullptr);
  EXPECT_EQ(kvf_publication_begin(publication_, 0, nullptr, keys_.data(), 1, 0,
                                  kSecond, &number_),
            KVF_UNAVAILABLE);
  EXPECT_EQ(kvf_client_clear(client_, kSecond, nullptr), KVF_UNAVAILABLE);
  EXPECT_EQ(kvf_admin_status(admin_, &daemon_status_), KVF_UNAVAILABLE);
  EXPECT_EQ(kvf_client_info(client_, &info_), KVF_OK);
  const uint64_t epoch = info_.epoch;

  ASSERT_THAT(daemon_->Restart(), IsOk());
  while (kvf_client_connected(client_) == 0 &&
         absl::Now() < deadline + absl::Seconds(10)) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(kvf_client_info(client_, &info_), KVF_OK);
  EXPECT_EQ(info_.connected, 1u);
  EXPECT_NE(info_.epoch, epoch);
  EXPECT_STREQ(info_.name, "faults");
  // Cold, and of use again.
  EXPECT_EQ(kvf_match(client_, &names_, 1, prefix_), KVF_OK);
  EXPECT_EQ(kvf_prefix_tokens(prefix_), 0u);
}

}  // namespace
}  // namespace kvferry::test
