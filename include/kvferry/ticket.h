#ifndef KVFERRY_TICKET_H_
#define KVFERRY_TICKET_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "kvferry/export.h"
#include "kvferry/key.h"

namespace kvferry {

// At most 256 bytes that travel with a request and let another process take up
// blocks that the daemon keeps pinned until `consumers` of them are done or the
// time is over. Opaque; authentic by the daemon's own secret.
struct Ticket {
  std::string bytes;
};

// A publication that brings blocks, for a stream to follow. None by default.
struct PublicationHint {
  uint32_t slot = 0;
  uint32_t generation = 0;  // 0: none
};

struct TicketOptions {
  uint32_t consumers = 1;
  absl::Duration ttl = absl::Seconds(60);
  // Valid tokens of the last key's block; 0: it is a full one.
  uint32_t tail_tokens = 0;
  // Opaque; at most 4,096 bytes. For what is known when the ticket is minted;
  // a publication under way brings its own (Publication::SetHandOver).
  std::string hand_over;
};

// What a ticket stands for: the chain of keys to Match.
struct TicketContent {
  uint32_t group = 0;
  std::vector<BlockKey> keys;
  uint32_t tail_tokens = 0;
  // Of a ticket that was minted before its blocks were written: what to put
  // into StreamOptions.
  PublicationHint publication;
  // As far as it is known now.
  std::string hand_over;
};

// Letters, digits, '-' and '_' only, for headers and JSON.
KVFERRY_EXPORT std::string TicketToText(const Ticket& ticket);
KVFERRY_EXPORT absl::StatusOr<Ticket> TicketFromText(absl::string_view text);

}  // namespace kvferry

#endif  // KVFERRY_TICKET_H_
