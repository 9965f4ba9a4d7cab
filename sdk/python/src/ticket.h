#ifndef KVFERRY_SDK_PYTHON_SRC_TICKET_H_
#define KVFERRY_SDK_PYTHON_SRC_TICKET_H_

#include <nanobind/nanobind.h>

#include "sdk/python/src/client.h"

namespace kvferry::python {

// kvferry.TicketContent
void BindTicketContent(nanobind::module_& module);
// Client.mint_ticket, redeem_ticket, release_ticket
void BindClientTickets(nanobind::class_<Client>& client);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_TICKET_H_
