#include "sdk/python/src/ticket.h"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "sdk/python/src/buffers.h"
#include "sdk/python/src/errors.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/numbers.h"
#include "sdk/python/src/publication.h"
#include "sdk/python/src/text.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

struct TicketContent {
  nb::bytes keys;
  uint32_t group;
  uint32_t tail_tokens;
  std::optional<std::pair<uint32_t, uint32_t>> hint;
  nb::bytes hand_over;
};

struct ContentDelete {
  void operator()(kvf_ticket_content* content) const {
    kvf_ticket_content_destroy(content);
  }
};

std::string Mint(const Client& client, const Buffer& keys, int64_t group,
                 Publication* publication, int64_t consumers, double ttl,
                 int64_t tail_tokens, const Buffer& hand_over) {
  const ClientRef handle = client.handle();
  const KeysView view(keys);
  const ReadBytes bytes(hand_over, "hand_over");
  const uint32_t group_index = Uint32(group, "group");
  kvf_ticket_options options{};
  options.size = sizeof(options);
  options.consumers = Uint32(consumers, "consumers");
  if (options.consumers == 0) {
    Raise(KVF_INVALID_ARGUMENT, "consumers: 0, must be 1 or more");
  }
  options.tail_tokens = Uint32(tail_tokens, "tail_tokens");
  options.ttl_ns = DurationNs(ttl, "ttl");
  options.hand_over = bytes.as_bytes();
  std::optional<ExclusiveUse> use;
  if (publication != nullptr) {
    use.emplace(publication->exclusive(), "publication");
  }
  kvf_publication* const source =
      publication == nullptr ? nullptr : publication->get();
  kvf_ticket ticket{};
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_ticket_mint(handle->get(), source, group_index, view.data(),
                             view.size(), &options, &ticket);
  }
  Check(status);
  char text[KVF_TICKET_TEXT_MAX];
  Check(kvf_ticket_to_text(&ticket, text));
  return text;
}

kvf_ticket FromText(const std::string& text) {
  kvf_ticket ticket{};
  Check(kvf_ticket_from_text(CText(text, "ticket"), &ticket));
  return ticket;
}

TicketContent Redeem(const Client& client, const std::string& text) {
  const ClientRef handle = client.handle();
  const kvf_ticket ticket = FromText(text);
  kvf_ticket_content* redeemed = nullptr;
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_ticket_redeem(handle->get(), &ticket, &redeemed);
  }
  Check(status);
  const std::unique_ptr<kvf_ticket_content, ContentDelete> content(redeemed);
  kvf_ticket_content_info info{};
  info.size = sizeof(info);
  Check(kvf_ticket_content_get(content.get(), &info));
  std::optional<std::pair<uint32_t, uint32_t>> hint;
  if (info.hint_generation != 0) {
    hint.emplace(info.hint_slot, info.hint_generation);
  }
  return {.keys = nb::bytes(info.keys, info.key_count * sizeof(kvf_key)),
          .group = info.group,
          .tail_tokens = info.tail_tokens,
          .hint = hint,
          .hand_over = nb::bytes(info.hand_over.data, info.hand_over.length)};
}

void Release(const Client& client, const std::string& text) {
  const ClientRef handle = client.handle();
  const kvf_ticket ticket = FromText(text);
  kvf_status status;
  {
    const GilRelease release;
    status = kvf_ticket_release(handle->get(), &ticket);
  }
  Check(status);
}

std::string Repr(const TicketContent& content) {
  return "<kvferry.TicketContent of " +
         std::to_string(content.keys.size() / sizeof(kvf_key)) +
         " keys, group " + std::to_string(content.group) + ">";
}

}  // namespace

void BindTicketContent(nb::module_& module) {
  nb::class_<TicketContent>(module, "TicketContent",
                            "What a ticket hands over.")
      .def_ro("keys", &TicketContent::keys)
      .def_ro("group", &TicketContent::group)
      .def_ro("tail_tokens", &TicketContent::tail_tokens)
      .def_ro("hint", &TicketContent::hint)
      .def_ro("hand_over", &TicketContent::hand_over)
      .def("__repr__", &Repr);
}

void BindClientTickets(nb::class_<Client>& client) {
  client
      .def("mint_ticket", &Mint, nb::arg("keys"), nb::kw_only(),
           nb::arg("group") = 0, nb::arg("publication") = nb::none(),
           nb::arg("consumers") = 1, nb::arg("ttl") = 60.0,
           nb::arg("tail_tokens") = 0, nb::arg("hand_over") = nb::bytes("", 0),
           "A ticket for blocks that are there, or that `publication` writes,\n"
           "as text for headers and JSON.")
      .def("redeem_ticket", &Redeem, nb::arg("ticket"))
      .def("release_ticket", &Release, nb::arg("ticket"));
}

}  // namespace kvferry::python
