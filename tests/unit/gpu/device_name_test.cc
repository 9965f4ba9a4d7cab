#include "gpu/device_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "tests/support/status_matchers.h"

namespace kvferry::gpu {
namespace {

using test::IsOk;
using test::IsOkAndHolds;
using test::StatusIs;
using testing::HasSubstr;

using Form = DeviceName::Form;

constexpr char kUuid[] = "GPU-01234567-89ab-cdef-0123-456789abcdef";

TEST(DeviceNameTest, TakesFourForms) {
  const auto current = ParseDeviceName("");
  ASSERT_THAT(current, IsOk());
  EXPECT_EQ(current->form, Form::kCurrent);
  EXPECT_EQ(current->ordinal, -1);

  const auto ordinal = ParseDeviceName("12");
  ASSERT_THAT(ordinal, IsOk());
  EXPECT_EQ(ordinal->form, Form::kOrdinal);
  EXPECT_EQ(ordinal->ordinal, 12);

  const auto emulated = ParseDeviceName("emulated:4294967295");
  ASSERT_THAT(emulated, IsOk());
  EXPECT_EQ(emulated->form, Form::kEmulated);
  EXPECT_EQ(emulated->number, UINT32_MAX);
  EXPECT_EQ(emulated->uuid, EmulatedUuid(UINT32_MAX));

  const auto uuid = ParseDeviceName(kUuid);
  ASSERT_THAT(uuid, IsOk());
  EXPECT_EQ(uuid->form, Form::kUuid);
  EXPECT_EQ(uuid->uuid[0], 0x01);
  EXPECT_EQ(uuid->uuid[15], 0xef);
}

TEST(DeviceNameTest, RefusesAnythingElse) {
  for (const char* const name :
       {"-1", "+1", " 1", "1 ", "2147483648", "emulated:", "emulated:x",
        "emulated:-1", "emulated:4294967296", "Emulated:1", "gpu0", "GPU-",
        "GPU-0123456789abcdef0123456789abcdef",
        "GPU-01234567-89ab-cdef-0123-456789abcde",
        "GPU-01234567-89ab-cdef-0123-456789abcdef0",
        "GPU-01234567-89ab-cdef-0123-456789abcdeg", "MIG-0"}) {
    SCOPED_TRACE(name);
    EXPECT_THAT(ParseDeviceName(name),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(name)));
  }
}

TEST(DeviceNameTest, WritesUuidsAsTheyAreRead) {
  const auto uuid = UuidFromString(kUuid);
  ASSERT_THAT(uuid, IsOk());
  EXPECT_EQ(UuidToString(DeviceKind::kCuda, *uuid), kUuid);
  EXPECT_THAT(UuidFromString("GPU-01234567-89AB-CDEF-0123-456789ABCDEF"),
              IsOkAndHolds(*uuid));
  for (const uint32_t number : {0u, 1u, 258u, UINT32_MAX}) {
    EXPECT_EQ(UuidToString(DeviceKind::kEmulated, EmulatedUuid(number)),
              "emulated:" + std::to_string(number));
    EXPECT_THAT(UuidFromString("emulated:" + std::to_string(number)),
                IsOkAndHolds(EmulatedUuid(number)));
  }
  EXPECT_THAT(UuidFromString("0"),
              StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(UuidFromString(""), StatusIs(absl::StatusCode::kInvalidArgument));
}

// Goal: names lead to the devices of their form, and errors name the problem.
TEST(DeviceNameTest, OpensByName) {
  const auto emulated = OpenDevice("emulated:3");
  ASSERT_THAT(emulated, IsOk());
  EXPECT_EQ((*emulated)->report().uuid, EmulatedUuid(3));
  EXPECT_THAT(OpenDevice("gpu0"), StatusIs(absl::StatusCode::kInvalidArgument));
  // A UUID that no device has.
  EXPECT_FALSE(OpenDevice(kUuid).ok());
}

// Goal: a build without CUDA says that it is one.
TEST(DeviceNameTest, SaysThatThereIsNoCudaInThisBuild) {
  if (BuiltWithCuda()) GTEST_SKIP() << "this build has CUDA";
  for (const char* const name : {"", "0", kUuid}) {
    EXPECT_THAT(OpenDevice(name), StatusIs(absl::StatusCode::kUnimplemented,
                                           HasSubstr("KVFERRY_CUDA")));
  }
}

}  // namespace
}  // namespace kvferry::gpu
