#include <cstring>
#include <string>

#include "gmock/gmock.h"
#include "kvferry/kvferry.h"

namespace kvferry::c_api {
namespace {

using testing::HasSubstr;

TEST(TicketTextTest, TheLargestTicketIsThereAndBack) {
  kvf_ticket ticket = {};
  ticket.length = KVF_TICKET_BYTES_MAX;
  for (int i = 0; i < KVF_TICKET_BYTES_MAX; ++i) {
    ticket.bytes[i] = static_cast<uint8_t>(255 - i);
  }
  char text[KVF_TICKET_TEXT_MAX];
  std::memset(text, 'x', sizeof(text));
  ASSERT_EQ(kvf_ticket_to_text(&ticket, text), KVF_OK);
  ASSERT_LT(strnlen(text, sizeof(text)), sizeof(text));

  kvf_ticket back = {};
  ASSERT_EQ(kvf_ticket_from_text(text, &back), KVF_OK);
  EXPECT_EQ(back.length, ticket.length);
  EXPECT_EQ(std::memcmp(back.bytes, ticket.bytes, sizeof(ticket.bytes)), 0);
}

TEST(TicketTextTest, WhatIsNoTicketIsRefused) {
  char text[KVF_TICKET_TEXT_MAX] = "as it was";
  kvf_ticket ticket = {};
  EXPECT_EQ(kvf_ticket_to_text(&ticket, text), KVF_INVALID_ARGUMENT);
  ticket.length = KVF_TICKET_BYTES_MAX + 1;
  EXPECT_EQ(kvf_ticket_to_text(&ticket, text), KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("kvf_ticket.length is 257"));
  EXPECT_STREQ(text, "as it was");

  EXPECT_EQ(kvf_ticket_from_text("", &ticket), KVF_INVALID_ARGUMENT);
  EXPECT_EQ(kvf_ticket_from_text("a b", &ticket), KVF_INVALID_ARGUMENT);
  EXPECT_EQ(kvf_ticket_from_text(std::string(400, 'a').c_str(), &ticket),
            KVF_INVALID_ARGUMENT);
  EXPECT_THAT(kvf_error_message(), HasSubstr("400 letters"));
}

}  // namespace
}  // namespace kvferry::c_api
