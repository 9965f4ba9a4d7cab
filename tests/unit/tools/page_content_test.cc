#include "tools/kvferry-replay/page_content.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

namespace kvferry::replay {
namespace {

constexpr BlockKey kKey{0x0123456789abcdef, 0xfedcba9876543210};

std::vector<std::byte> Page(const BlockKey& key, size_t bytes) {
  std::vector<std::byte> page(bytes);
  FillPage(key, page);
  return page;
}

TEST(PageContentTest, WhatWasFilledMatches) {
  for (const size_t bytes : {0, 1, 7, 8, 9, 4096, 4099}) {
    EXPECT_EQ(FindMismatch(kKey, Page(kKey, bytes)), std::nullopt) << bytes;
  }
}

TEST(PageContentTest, FillsNothingBeyondThePage) {
  std::vector<std::byte> buffer(32, std::byte{0x5a});
  FillPage(kKey, std::span(buffer).subspan(8, 11));

  EXPECT_EQ(std::count(buffer.begin(), buffer.begin() + 8, std::byte{0x5a}), 8);
  EXPECT_EQ(std::count(buffer.begin() + 19, buffer.end(), std::byte{0x5a}), 13);
}

// Goal    One flipped bit anywhere is found, and where it is is said.
TEST(PageContentTest, FindsTheFirstWrongByte) {
  std::vector<std::byte> page = Page(kKey, 4099);
  for (size_t at = 0; at < page.size(); ++at) {
    page[at] ^= std::byte{0x10};
    EXPECT_EQ(FindMismatch(kKey, page), at);
    page[at] ^= std::byte{0x10};
  }
}

TEST(PageContentTest, AnyBitOfTheKeyChangesEveryWord) {
  const std::vector<std::byte> page = Page(kKey, 4096);
  for (int bit = 0; bit < 128; ++bit) {
    BlockKey other = kKey;
    (bit < 64 ? other.lo : other.hi) ^= uint64_t{1} << (bit % 64);
    const std::vector<std::byte> other_page = Page(other, 4096);
    for (size_t at = 0; at < page.size(); at += 8) {
      EXPECT_FALSE(std::equal(page.begin() + at, page.begin() + at + 8,
                              other_page.begin() + at))
          << "bit " << bit << " at " << at;
    }
  }
}

TEST(PageContentTest, ZerosAndAnotherPageAreMismatches) {
  EXPECT_EQ(FindMismatch(kKey, std::vector<std::byte>(4096)), 0u);
  EXPECT_TRUE(FindMismatch(kKey, Page({1, 2}, 4096)).has_value());
}

}  // namespace
}  // namespace kvferry::replay
