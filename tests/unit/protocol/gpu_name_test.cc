#include "protocol/gpu_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/status_matchers.h"

namespace kvferry::protocol {
namespace {

using test::IsOk;
using test::StatusIs;

constexpr char kText[] = "GPU-9b3c61a2-04d7-4e4f-8d11-00ffeeddccbb";

TEST(GpuNameTest, AUuidIsReadAndWrittenAsNvidiaSmiPrintsIt) {
  const auto name = ParseGpuName(kText);

  ASSERT_THAT(name, IsOk());
  EXPECT_FALSE(name->emulated);
  EXPECT_EQ(name->uuid[0], 0x9b);
  EXPECT_EQ(name->uuid[15], 0xbb);
  EXPECT_EQ(FormatGpuName(*name), kText);
  EXPECT_EQ(GpuNameOf(name->uuid), *name);
}

TEST(GpuNameTest, UpperCaseIsTheSameDevice) {
  EXPECT_EQ(*ParseGpuName("GPU-9B3C61A2-04D7-4E4F-8D11-00FFEEDDCCBB"),
            *ParseGpuName(kText));
}

TEST(GpuNameTest, EmulatedDevicesHaveNumbersAndUuidsOfTheirOwn) {
  for (const uint32_t number : {0u, 1u, 255u, 0xffff'ffffu}) {
    const auto name = ParseGpuName("emulated:" + std::to_string(number));

    ASSERT_THAT(name, IsOk());
    EXPECT_TRUE(name->emulated);
    EXPECT_EQ(name->number, number);
    EXPECT_EQ(name->uuid, EmulatedGpuUuid(number));
    EXPECT_EQ(GpuNameOf(name->uuid), *name);
    EXPECT_EQ(FormatGpuName(*name), "emulated:" + std::to_string(number));
  }
}

TEST(GpuNameTest, WhatIsNoNameIsRefused) {
  for (const char* text :
       {"", "0", "1", "cuda:0", "GPU-", "emulated:", "emulated:-1",
        "emulated: 1", "emulated:+1", "emulated:4294967296", "emulated:1x",
        "GPU-9b3c61a2-04d7-4e4f-8d11-00ffeeddccb",
        "GPU-9b3c61a2-04d7-4e4f-8d11-00ffeeddccbbb",
        "GPU-9b3c61a2-04d7-4e4f-8d1-100ffeeddccbb",
        "GPU-9b3c61a2-04d7-4e4f-8d11-00ffeeddccbg",
        "MIG-9b3c61a2-04d7-4e4f-8d11-00ffeeddccbb",
        "9b3c61a2-04d7-4e4f-8d11-00ffeeddccbb"}) {
    EXPECT_THAT(ParseGpuName(text),
                StatusIs(absl::StatusCode::kInvalidArgument))
        << text;
  }
}

}  // namespace
}  // namespace kvferry::protocol
