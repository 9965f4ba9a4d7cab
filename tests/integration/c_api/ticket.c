/* Blocks that are handed to another process by a ticket. */

#include "current_program.h"
#include "program.h"

enum { COUNT = 3 };

static void check_content(const kvf_ticket_content* content,
                          const kvf_key* keys, int in_flight) {
  kvf_ticket_content_info info = {.size = sizeof(info)};
  CHECK_OK(kvf_ticket_content_get(content, &info));
  CHECK(info.key_count == COUNT && info.group == 0 && info.tail_tokens == 0);
  CHECK(memcmp(info.keys, keys, COUNT * sizeof(*keys)) == 0);
  CHECK((info.hint_generation != 0) == in_flight);
  if (!in_flight) {
    CHECK(info.hand_over.length == 5);
    CHECK(memcmp(info.hand_over.data, "hello", 5) == 0);
  }
}

void run_ticket(const char* socket_path) {
  kvf_client* const minter = attach(socket_path, "ticket", 0);
  kvf_client* const taker = attach(socket_path, "ticket", 0);
  const kvf_ticket_options options = {.size = sizeof(options),
                                      .ttl_ns = 30 * SECOND,
                                      .hand_over = {"hello", 5}};
  kvf_ticket_content* content = NULL;
  kvf_publication* publication = NULL;
  kvf_key keys[COUNT];
  kvf_key other[COUNT];
  kvf_ticket ticket = {0, {0}};
  kvf_ticket sent = {0, {0}};
  kvf_ticket forged;
  char text[KVF_TICKET_TEXT_MAX];
  uint32_t first = 0;

  make_keys(minter, 4, COUNT, keys);
  make_keys(minter, 5, COUNT, other);
  publish_blocks(minter, keys, COUNT, 0);
  CHECK_FAILS(kvf_ticket_mint(minter, NULL, 0, other, COUNT, &options, &ticket),
              KVF_NOT_FOUND, "");
  CHECK(ticket.length == 0);
  CHECK_OK(kvf_ticket_mint(minter, NULL, 0, keys, COUNT, &options, &ticket));
  CHECK(ticket.length > 0 && ticket.length <= KVF_TICKET_BYTES_MAX);

  CHECK_OK(kvf_ticket_to_text(&ticket, text));
  CHECK_OK(kvf_ticket_from_text(text, &sent));
  CHECK(sent.length == ticket.length);
  CHECK(memcmp(sent.bytes, ticket.bytes, sent.length) == 0);
  CHECK_OK(kvf_ticket_redeem(taker, &sent, &content));
  check_content(content, keys, 0);
  kvf_ticket_content_destroy(content);

  forged = sent;
  forged.bytes[forged.length - 1] ^= 1;
  CHECK_FAILS(kvf_ticket_redeem(taker, &forged, &content),
              KVF_PERMISSION_DENIED, "");
  CHECK(content == NULL);
  CHECK_OK(kvf_ticket_release(taker, &sent));
  CHECK_FAILS(kvf_ticket_redeem(taker, &sent, &content), KVF_NOT_FOUND, "");

  /* Before the blocks are there. */
  CHECK_OK(kvf_publication_open(minter, NULL, &publication));
  CHECK_OK(kvf_publication_begin(publication, 0, NULL, other, COUNT, 0,
                                 5 * SECOND, &first));
  CHECK_OK(kvf_ticket_mint(minter, publication, 0, other, COUNT, NULL, &sent));
  CHECK_OK(kvf_ticket_redeem(taker, &sent, &content));
  check_content(content, other, 1);
  {
    kvf_ticket_content_info info = {.size = sizeof(info)};
    kvf_stream_options follow = {.size = sizeof(follow)};
    kvf_stream* stream = NULL;
    CHECK_OK(kvf_ticket_content_get(content, &info));
    follow.hint_slot = info.hint_slot;
    follow.hint_generation = info.hint_generation;
    CHECK_OK(kvf_stream_create(&stream));
    CHECK_OK(
        kvf_match_stream(taker, info.keys, info.key_count, &follow, stream));
    CHECK_OK(kvf_stream_status(stream));
    kvf_publication_abort(publication);
    CHECK_CODE(kvf_stream_wait_chunk(stream, COUNT, 5 * SECOND), KVF_ABORTED);
    kvf_stream_destroy(stream);
  }
  kvf_ticket_content_destroy(content);
  kvf_publication_destroy(publication);
  kvf_client_close(taker);
  kvf_client_close(minter);
}
