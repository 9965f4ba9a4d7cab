#ifndef KVFERRY_DAEMON_CONTROL_SERVICE_MANAGER_H_
#define KVFERRY_DAEMON_CONTROL_SERVICE_MANAGER_H_

#include <cstdint>
#include <string>

namespace kvferry::control {

// What systemd is told (sd_notify), when it runs us.
class ServiceManager {
 public:
  ServiceManager();

  void Ready(const std::string& status);
  void Stopping();
  // Tells that the loop still turns, at half the interval that was asked for.
  void Beat(uint64_t now_ms);
  // How long the loop may sleep because of that; UINT64_MAX: for ever.
  uint64_t SleepLimitMs() const { return interval_ms_; }

 private:
  uint64_t interval_ms_ = UINT64_MAX;
  uint64_t next_ms_ = 0;
};

}  // namespace kvferry::control

#endif  // KVFERRY_DAEMON_CONTROL_SERVICE_MANAGER_H_
