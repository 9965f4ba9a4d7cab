#ifndef KVFERRY_TESTS_SUPPORT_STATUS_MATCHERS_H_
#define KVFERRY_TESTS_SUPPORT_STATUS_MATCHERS_H_

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"

// Matchers for absl::Status and absl::StatusOr, which Debian's Abseil does not
// bring: IsOk(), StatusIs(code [, message matcher]), IsOkAndHolds(matcher).
namespace kvferry::test {

inline const absl::Status& StatusOf(const absl::Status& status) {
  return status;
}
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, negation ? "is an error" : "is OK") {
  *result_listener << "whose status is " << StatusOf(arg).ToString();
  return StatusOf(arg).ok();
}

class StatusIsMatcher {
 public:
  StatusIsMatcher(absl::StatusCode code,
                  testing::Matcher<const std::string&> message)
      : code_(code), message_(std::move(message)) {}

  template <typename StatusOrResult>
  bool MatchAndExplain(const StatusOrResult& actual,
                       testing::MatchResultListener* listener) const {
    const absl::Status& status = StatusOf(actual);
    *listener << "whose status is " << status.ToString();
    return status.code() == code_ &&
           message_.Matches(std::string(status.message()));
  }
  void DescribeTo(std::ostream* out) const { Describe("has", out); }
  void DescribeNegationTo(std::ostream* out) const {
    Describe("does not have", out);
  }

 private:
  void Describe(const char* verb, std::ostream* out) const {
    *out << verb << " code " << absl::StatusCodeToString(code_)
         << " and a message that ";
    message_.DescribeTo(out);
  }

  absl::StatusCode code_;
  testing::Matcher<const std::string&> message_;
};

inline testing::PolymorphicMatcher<StatusIsMatcher> StatusIs(
    absl::StatusCode code,
    testing::Matcher<const std::string&> message = testing::_) {
  return testing::MakePolymorphicMatcher(
      StatusIsMatcher(code, std::move(message)));
}

template <typename Inner>
class IsOkAndHoldsMatcher {
 public:
  explicit IsOkAndHoldsMatcher(Inner inner) : inner_(std::move(inner)) {}

  template <typename Result>
  operator testing::Matcher<Result>() const {  // NOLINT: gmock's protocol
    return testing::Matcher<Result>(new Impl<Result>(inner_));
  }

 private:
  template <typename Result>
  class Impl : public testing::MatcherInterface<Result> {
   public:
    using Value =
        typename std::remove_cv_t<std::remove_reference_t<Result>>::value_type;
    explicit Impl(const Inner& inner)
        : inner_(testing::SafeMatcherCast<const Value&>(inner)) {}

    bool MatchAndExplain(
        Result result, testing::MatchResultListener* listener) const override {
      if (!result.ok()) {
        *listener << "whose status is " << result.status().ToString();
        return false;
      }
      return inner_.MatchAndExplain(*result, listener);
    }
    void DescribeTo(std::ostream* out) const override {
      *out << "is OK and holds a value that ";
      inner_.DescribeTo(out);
    }
    void DescribeNegationTo(std::ostream* out) const override {
      *out << "is an error or holds a value that ";
      inner_.DescribeNegationTo(out);
    }

   private:
    testing::Matcher<const Value&> inner_;
  };

  Inner inner_;
};

template <typename Inner>
IsOkAndHoldsMatcher<std::decay_t<Inner>> IsOkAndHolds(Inner&& inner) {
  return IsOkAndHoldsMatcher<std::decay_t<Inner>>(std::forward<Inner>(inner));
}

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_STATUS_MATCHERS_H_
