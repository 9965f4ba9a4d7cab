#include "sdk/c_api/error.h"

#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "gmock/gmock.h"

namespace kvferry::c_api {
namespace {

using testing::EndsWith;
using testing::StrEq;

TEST(ErrorTest, AStatusIsItsCodeAndMessage) {
  EXPECT_EQ(Answer([] { return absl::NotFoundError("block 7"); }),
            KVF_NOT_FOUND);
  EXPECT_THAT(kvf_error_message(), StrEq("block 7"));
}

TEST(ErrorTest, ASuccessLeavesTheMessageOfTheLastFailure) {
  EXPECT_EQ(Answer([] { return absl::AbortedError("first"); }), KVF_ABORTED);
  EXPECT_EQ(Answer([] { return absl::OkStatus(); }), KVF_OK);
  EXPECT_THAT(kvf_error_message(), StrEq("first"));
}

TEST(ErrorTest, NoExceptionLeavesACall) {
  EXPECT_EQ(Answer([]() -> absl::Status { throw std::bad_alloc(); }),
            KVF_RESOURCE_EXHAUSTED);
  EXPECT_EQ(Answer([]() -> absl::Status { throw std::runtime_error("why"); }),
            KVF_INTERNAL);
  EXPECT_THAT(kvf_error_message(), StrEq("why"));
  EXPECT_EQ(Answer([]() -> absl::Status { throw 7; }), KVF_INTERNAL);
  EXPECT_EQ(AnswerOr(5, []() -> int { throw std::bad_alloc(); }), 5);
  EXPECT_EQ(AnswerOr(5, [] { return 6; }), 6);
}

TEST(ErrorTest, EachThreadHasItsOwnMessage) {
  EXPECT_EQ(Answer([] { return absl::DataLossError("mine"); }), KVF_DATA_LOSS);
  std::string before;
  std::string after;
  std::thread([&] {
    before = kvf_error_message();
    (void)Answer([] { return absl::DataLossError("the other's"); });
    after = kvf_error_message();
  }).join();
  EXPECT_THAT(before, StrEq(""));
  EXPECT_THAT(after, StrEq("the other's"));
  EXPECT_THAT(kvf_error_message(), StrEq("mine"));
}

TEST(ErrorTest, ALongMessageIsCutBetweenCharacters) {
  // Two bytes a character, shifted so that the limit falls into one.
  for (const std::string& start : {std::string(), std::string("x")}) {
    std::string text = start;
    for (int i = 0; i < 3000; ++i) text += "\xc3\xa4";
    (void)Answer([&] { return absl::InternalError(text); });
    const std::string kept = kvf_error_message();
    EXPECT_LT(kept.size(), text.size());
    EXPECT_EQ(kept, text.substr(0, kept.size()));
    EXPECT_THAT(kept, EndsWith("\xc3\xa4"));
  }
}

TEST(ErrorTest, EveryCodeHasItsName) {
  for (int code = 0; code <= KVF_UNAUTHENTICATED; ++code) {
    EXPECT_EQ(kvf_status_name(static_cast<kvf_status>(code)),
              absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  }
  EXPECT_THAT(kvf_status_name(static_cast<kvf_status>(17)), StrEq("UNKNOWN"));
  EXPECT_THAT(kvf_status_name(static_cast<kvf_status>(31)), StrEq("UNKNOWN"));
}

}  // namespace
}  // namespace kvferry::c_api
