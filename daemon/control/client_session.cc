#include "daemon/control/client_session.h"

#include "absl/strings/str_cat.h"

namespace kvferry::control {

std::string ClientSession::ToString() const {
  return absl::StrCat("session ", number, " (", client_name, ") of pid ", pid,
                      " of user ", uid);
}

}  // namespace kvferry::control
