#include "kvferry/ticket.h"

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "protocol/limits.h"

namespace kvferry {
namespace {

// Four letters for three bytes, the last group without padding.
constexpr size_t kTextBytesMax = (protocol::kTicketBytesMax * 4 + 2) / 3;

bool IsTicketLetter(char letter) {
  return absl::ascii_isalnum(static_cast<unsigned char>(letter)) ||
         letter == '-' || letter == '_';
}

}  // namespace

std::string TicketToText(const Ticket& ticket) {
  return absl::WebSafeBase64Escape(ticket.bytes);
}

absl::StatusOr<Ticket> TicketFromText(absl::string_view text) {
  if (text.empty()) {
    return absl::InvalidArgumentError("ticket: the text is empty");
  }
  if (text.size() > kTextBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: ", text.size(), " letters, at most ", kTextBytesMax, " (",
        protocol::kTicketBytesMax, " bytes)"));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (!IsTicketLetter(text[i])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ticket: \"", absl::CHexEscape(text.substr(i, 1)), "\" at letter ", i,
          ", need letters, digits, '-' and '_'"));
    }
  }
  Ticket ticket;
  // Encoded again, since the decoder drops bits that a longer last group would
  // need: one ticket has one text.
  if (!absl::WebSafeBase64Unescape(text, &ticket.bytes) ||
      TicketToText(ticket) != text) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: the last of ", text.size(), " letters do not end a byte"));
  }
  return ticket;
}

}  // namespace kvferry
