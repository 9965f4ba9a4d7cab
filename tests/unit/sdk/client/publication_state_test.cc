#include "sdk/publication_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/support/fake_namespace.h"
#include "tests/support/status_matchers.h"

namespace kvferry::sdk {
namespace {

using protocol::PublishAnswer;
using protocol::SubmitRecord;
using test::FakeNamespace;
using test::IsOk;
using test::IsOkAndHolds;
using test::NumberedKey;
using test::StatusIs;
using testing::HasSubstr;

class PublicationStateTest : public testing::Test {
 protected:
  static constexpr uint32_t kBlocks = 16;
  static constexpr uint64_t kPageBytes = 64;

  PublicationStateTest() {
    const absl::Status added = attachment_->segments().AddMemory(
        0, 0, kBlocks, fake_.Page(0, 0), /*writable=*/true);
    EXPECT_THAT(added, IsOk());
    fake_.Grant(0, {7, 8});
  }
  static absl::Time Soon() { return absl::Now() + absl::Milliseconds(50); }
  absl::StatusOr<std::unique_ptr<PublicationState>> Open(
      const PublicationOptions& options = {}) {
    return PublicationState::Open(attachment_, options, Soon());
  }
  // The daemon's word for the only publication.
  uint32_t handle() { return fake_.TakeSubmissions().at(0).handle; }

  FakeNamespace fake_{{{.block_tokens = 16,
                        .block_count = kBlocks,
                        .blocks_per_segment = kBlocks,
                        .page_bytes = kPageBytes}},
                      /*map_segments=*/false};
  const std::shared_ptr<Attachment> attachment_ =
      std::make_shared<Attachment>(fake_.memory(), Attachment::Options{});
};

TEST_F(PublicationStateTest, OptionsTravelWithTheOpen) {
  PublicationOptions options;
  options.stall_timeout = absl::Milliseconds(250);
  options.standby = false;
  const auto some = Open(options);
  ASSERT_THAT(some, IsOk());
  const auto by_default = Open();
  ASSERT_THAT(by_default, IsOk());
  const std::vector<SubmitRecord> sent = fake_.TakeSubmissions();
  ASSERT_EQ(sent.size(), 2);
  EXPECT_EQ(sent[0].open.stall_ms, 250);
  EXPECT_EQ(sent[0].open.flags, 0);
  EXPECT_EQ(sent[1].open.stall_ms, 30'000);
  EXPECT_EQ(sent[1].open.flags, protocol::kOpenStandby);
}

TEST_F(PublicationStateTest, AStallTimeoutHasLimits) {
  PublicationOptions options;
  for (const absl::Duration good :
       {absl::Milliseconds(100), absl::Minutes(10)}) {
    options.stall_timeout = good;
    EXPECT_THAT(Open(options), IsOk());
  }
  for (const absl::Duration bad :
       {absl::ZeroDuration(), absl::Milliseconds(99), -absl::Seconds(1),
        absl::Minutes(10) + absl::Milliseconds(1), absl::InfiniteDuration()}) {
    options.stall_timeout = bad;
    EXPECT_THAT(Open(options), StatusIs(absl::StatusCode::kInvalidArgument,
                                        HasSubstr("must be 100ms to 10m")))
        << bad;
  }
}

TEST_F(PublicationStateTest, AStandbysPagesAreWritten) {
  const auto state = Open();
  ASSERT_THAT(state, IsOk());
  const std::vector<BlockKey> keys = {NumberedKey(0), NumberedKey(1)};
  ASSERT_THAT((*state)->Begin(0, {}, keys, 0, Soon()), IsOkAndHolds(0));
  const uint32_t publication = handle();
  fake_.Answer(publication, PublishAnswer::kStandby, 0, 1);
  fake_.Answer(publication, PublishAnswer::kInFlight, 1, 1);

  EXPECT_EQ((*state)->outcome(0), BlockOutcome::kStandby);
  EXPECT_EQ((*state)->page(0, 0).data(), fake_.Page(0, 8));
  EXPECT_EQ((*state)->page(0, 0).size(), kPageBytes);
  EXPECT_EQ((*state)->block(0).size(), kPageBytes);
  EXPECT_EQ((*state)->outcome(1), BlockOutcome::kInFlight);
  EXPECT_TRUE((*state)->page(1, 0).empty());
}

TEST_F(PublicationStateTest, ATailHasFewerTokensThanABlock) {
  const auto state = Open();
  ASSERT_THAT(state, IsOk());
  const std::vector<BlockKey> keys = {NumberedKey(0)};
  EXPECT_THAT((*state)->Begin(0, {}, keys, 16, Soon()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("tail of 16 tokens, must be fewer than the "
                                 "16")));
  EXPECT_EQ((*state)->size(), 0);
  EXPECT_THAT((*state)->Begin(0, {}, keys, 15, Soon()), IsOkAndHolds(0));
}

TEST_F(PublicationStateTest, RangesAndSizesAreChecked) {
  const auto state = Open();
  ASSERT_THAT(state, IsOk());
  const std::vector<BlockKey> keys = {NumberedKey(0)};
  ASSERT_THAT((*state)->Begin(0, {}, keys, 0, Soon()), IsOk());
  EXPECT_THAT(
      (*state)->CommitLayers(0, 2, 1),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("[0, +2)")));
  EXPECT_THAT((*state)->CommitLayers(1, ~uint32_t{0}, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("has 1")));
  EXPECT_THAT((*state)->CommitLayers(0, 1, 1), IsOk());
  EXPECT_THAT((*state)->SetHandOver(std::string(4097, 'x')),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("4097 bytes, the limit is 4096")));
}

TEST_F(PublicationStateTest, ATicketsHandleIsTheDaemonsWord) {
  const auto state = Open();
  ASSERT_THAT(state, IsOk());
  const uint32_t publication = handle();
  EXPECT_THAT((*state)->WaitForHandle(*attachment_, Soon()),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  fake_.Opened(publication, 1, 2, 3);
  EXPECT_THAT((*state)->WaitForHandle(*attachment_, Soon()),
              IsOkAndHolds(publication));
  EXPECT_THAT((*state)->WaitForHandle(fake_.attachment(), Soon()),
              StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_THAT((*state)->Close(Soon()), IsOk());
  EXPECT_THAT((*state)->WaitForHandle(*attachment_, Soon()),
              StatusIs(absl::StatusCode::kFailedPrecondition));
}

}  // namespace
}  // namespace kvferry::sdk
