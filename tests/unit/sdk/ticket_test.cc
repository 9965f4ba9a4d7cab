#include "kvferry/ticket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "absl/status/status.h"
#include "protocol/limits.h"

namespace kvferry {
namespace {

using testing::HasSubstr;

void ExpectRefused(const std::string& text, const std::string& reason) {
  const absl::StatusOr<Ticket> ticket = TicketFromText(text);
  ASSERT_FALSE(ticket.ok()) << text;
  EXPECT_EQ(ticket.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ticket.status().message()), HasSubstr(reason));
}

TEST(TicketTest, TextIsBase64UrlWithoutPadding) {
  EXPECT_EQ(TicketToText(Ticket{"f"}), "Zg");
  EXPECT_EQ(TicketToText(Ticket{"fo"}), "Zm8");
  EXPECT_EQ(TicketToText(Ticket{"foo"}), "Zm9v");
  EXPECT_EQ(TicketToText(Ticket{"\xfb\xff\xbf"}), "-_-_");
}

TEST(TicketTest, EverySizeSurvivesTheRoundTrip) {
  std::mt19937 random(1);
  for (size_t size = 1; size <= protocol::kTicketBytesMax; ++size) {
    Ticket ticket;
    for (size_t i = 0; i < size; ++i) {
      ticket.bytes.push_back(static_cast<char>(random()));
    }

    const std::string text = TicketToText(ticket);

    EXPECT_EQ(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "abcdefghijklmnopqrstuvwxyz0123456789-_"),
              std::string::npos)
        << text;
    const absl::StatusOr<Ticket> back = TicketFromText(text);
    ASSERT_TRUE(back.ok()) << size << ": " << back.status();
    EXPECT_EQ(back->bytes, ticket.bytes) << size;
  }
}

TEST(TicketTest, NamesTheLimitWhenTheTextIsTooLong) {
  const Ticket longest{std::string(protocol::kTicketBytesMax, 'x')};
  const Ticket too_long{std::string(protocol::kTicketBytesMax + 1, 'x')};

  EXPECT_TRUE(TicketFromText(TicketToText(longest)).ok());
  ExpectRefused(TicketToText(too_long), "343 letters, at most 342 (256 bytes)");
  ExpectRefused(std::string(1 << 20, 'A'), "1048576 letters, at most 342");
}

TEST(TicketTest, RefusesOtherLetters) {
  ExpectRefused("", "empty");
  ExpectRefused("Zm9v\n", "\"\\n\" at letter 4");
  ExpectRefused("Zm 9v", "\" \" at letter 2");
  ExpectRefused("Zg==", "\"=\" at letter 2");
  ExpectRefused("+/+/", "\"+\" at letter 0");
  ExpectRefused(std::string("Zm\0v", 4), "at letter 2");
  ExpectRefused("Zm9\xff", "\"\\xff\" at letter 3");
}

TEST(TicketTest, RefusesTextThatEndsWithinAByte) {
  ExpectRefused("Z", "1 letters do not end a byte");
  ExpectRefused("Zm9vZ", "5 letters");
  // One bit more than "Zg" has: another text for the same byte.
  ExpectRefused("Zh", "2 letters");
}

}  // namespace
}  // namespace kvferry
