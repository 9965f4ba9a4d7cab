#include "sdk/c_api/sized_struct.h"

#include <array>
#include <cstdint>
#include <cstring>

#include "gmock/gmock.h"
#include "sdk/c_api/sized_structs.h"
#include "tests/support/status_matchers.h"

namespace kvferry::c_api {
namespace {

using test::IsOk;
using test::StatusIs;
using testing::AllOf;
using testing::HasSubstr;

// A struct of three versions. The library's is the middle one.
struct Older {
  size_t size;
  uint64_t needed;
};
struct Known {
  size_t size;
  uint64_t needed;
  uint64_t optional;
};
struct Newer {
  size_t size;
  uint64_t needed;
  uint64_t optional;
  uint32_t later[2];
};
constexpr StructInfo kKnown = {"known", sizeof(Known), sizeof(Older)};

TEST(SizedStructTest, WhatTheCallerDoesNotKnowStaysZero) {
  const Older source = {.size = sizeof(Older), .needed = 7};
  Known target = {};

  ASSERT_THAT(ReadStruct(kKnown, &source, &target), IsOk());

  EXPECT_EQ(target.needed, 7u);
  EXPECT_EQ(target.optional, 0u);
}

TEST(SizedStructTest, ANewerStructWithZeroBeyondIsRead) {
  const Newer source = {
      .size = sizeof(Newer), .needed = 7, .optional = 8, .later = {}};
  Known target = {};

  ASSERT_THAT(ReadStruct(kKnown, &source, &target), IsOk());

  EXPECT_EQ(target.needed, 7u);
  EXPECT_EQ(target.optional, 8u);
}

TEST(SizedStructTest, ANewerStructThatAsksForMoreIsRefusedWithBothSizes) {
  const Newer source = {
      .size = sizeof(Newer), .needed = 7, .optional = 8, .later = {0, 1}};
  Known target = {};

  EXPECT_THAT(ReadStruct(kKnown, &source, &target),
              StatusIs(absl::StatusCode::kUnimplemented,
                       AllOf(HasSubstr("known.size is 32"),
                             HasSubstr("knows 24"), HasSubstr("byte 28"))));
  EXPECT_EQ(target.needed, 0u);
}

TEST(SizedStructTest, SizesThatCannotBeAreRefused) {
  Known target = {};
  for (size_t size :
       {size_t{0}, sizeof(Older) - 1, kStructSizeMax + 1, SIZE_MAX}) {
    const Known source = {.size = size, .needed = 7, .optional = 8};
    EXPECT_THAT(ReadStruct(kKnown, &source, &target),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("known.size is")))
        << size;
    EXPECT_THAT(CheckResult(kKnown, &source),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << size;
  }
  EXPECT_THAT(
      ReadStruct(kKnown, nullptr, &target),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("known is null")));
}

TEST(SizedStructTest, AnOlderResultIsFilledToItsEndAndNoFurther) {
  struct {
    Older result;
    uint64_t guard;
  } target = {.result = {.size = sizeof(Older), .needed = 1}, .guard = 99};
  const Known value = {.size = 0, .needed = 7, .optional = 8};

  WriteStruct(kKnown, &value, &target.result);

  EXPECT_EQ(target.result.size, sizeof(Older));
  EXPECT_EQ(target.result.needed, 7u);
  EXPECT_EQ(target.guard, 99u);
}

TEST(SizedStructTest, TheRestOfANewerResultIsZeroedAndNoMore) {
  struct {
    Newer result;
    uint64_t guard;
  } target = {.result = {sizeof(Newer), 1, 2, {3, 4}}, .guard = 99};
  const Known value = {.size = 0, .needed = 7, .optional = 8};

  WriteStruct(kKnown, &value, &target.result);

  EXPECT_EQ(target.result.size, sizeof(Newer));
  EXPECT_EQ(target.result.optional, 8u);
  EXPECT_EQ(target.result.later[0], 0u);
  EXPECT_EQ(target.result.later[1], 0u);
  EXPECT_EQ(target.guard, 99u);
}

TEST(SizedStructTest, ArraysStepByTheCallersSize) {
  const std::array<Newer, 3> newer = {{{sizeof(Newer), 1, 2, {}},
                                       {sizeof(Newer), 3, 4, {}},
                                       {sizeof(Newer), 5, 6, {}}}};
  const std::array<Older, 2> older = {{{sizeof(Older), 1}, {sizeof(Older), 3}}};
  Known target = {};

  ASSERT_THAT(ReadElement(kKnown, newer.data(), 2, &target), IsOk());
  EXPECT_EQ(target.needed, 5u);
  EXPECT_EQ(target.optional, 6u);

  target = {};
  ASSERT_THAT(ReadElement(kKnown, older.data(), 1, &target), IsOk());
  EXPECT_EQ(target.needed, 3u);
  EXPECT_EQ(target.optional, 0u);
}

TEST(SizedStructTest, ElementsOfTwoSizesAreRefused) {
  const std::array<Known, 2> mixed = {
      {{sizeof(Known), 1, 2}, {sizeof(Older), 3, 4}}};
  Known target = {};

  EXPECT_THAT(ReadElement(kKnown, mixed.data(), 1, &target),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("known 1"), HasSubstr("size 16"),
                             HasSubstr("first one 24"))));
}

// Goal    A struct need not be aligned as ours is: another version may be
//         larger by what is no multiple of our alignment.
// Method  Every offset of a buffer; UBSan watches.
TEST(SizedStructTest, AnyAlignmentIsRead) {
  std::array<unsigned char, sizeof(Known) + 8> buffer = {};
  const Known source = {.size = sizeof(Known), .needed = 7, .optional = 8};
  for (size_t at = 0; at < 8; ++at) {
    std::memcpy(buffer.data() + at, &source, sizeof(source));
    Known target = {};
    ASSERT_THAT(ReadStruct(kKnown, buffer.data() + at, &target), IsOk());
    EXPECT_EQ(target.optional, 8u);
  }
}

// The structs of the headers, as they are promised.
TEST(SizedStructTest, EveryMinimumLeavesOutTheSizeOrMore) {
  EXPECT_GE(StructInfoOf<kvf_attach_options>::kInfo.size_min, 24u);
  EXPECT_EQ(StructInfoOf<kvf_pull_options>::kInfo.size_min, sizeof(size_t));
  kvf_pull_options forgotten = {};
  kvf_pull_options target = {};
  EXPECT_THAT(ReadSized(&forgotten, &target),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("kvf_pull_options.size is 0")));
  EXPECT_THAT(ReadOptional<kvf_pull_options>(nullptr, &target), IsOk());
}

}  // namespace
}  // namespace kvferry::c_api
