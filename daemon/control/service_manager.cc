#include "daemon/control/service_manager.h"

#include <systemd/sd-daemon.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvferry::control {

ServiceManager::ServiceManager() {
  uint64_t watchdog_us = 0;
  if (::sd_watchdog_enabled(0, &watchdog_us) > 0) {
    interval_ms_ = std::max<uint64_t>(1, watchdog_us / 2000);
  }
}

// Nobody reads what is sent when there is no service manager; that is no
// failure.
void ServiceManager::Ready(const std::string& status) {
  (void)::sd_notify(0, absl::StrCat("READY=1\nSTATUS=", status).c_str());
}

void ServiceManager::Stopping() { (void)::sd_notify(0, "STOPPING=1"); }

void ServiceManager::Beat(uint64_t now_ms) {
  if (interval_ms_ == UINT64_MAX || now_ms < next_ms_) return;
  next_ms_ = now_ms + interval_ms_;
  (void)::sd_notify(0, "WATCHDOG=1");
}

}  // namespace kvferry::control
