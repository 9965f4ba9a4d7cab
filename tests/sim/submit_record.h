#ifndef KVFERRY_TESTS_SIM_SUBMIT_RECORD_H_
#define KVFERRY_TESTS_SIM_SUBMIT_RECORD_H_

#include <cstdint>

#include "protocol/shm_layout.h"

namespace kvferry::sim {

inline protocol::SubmitRecord MakeRecord(protocol::SubmitType type,
                                         uint32_t handle) {
  protocol::SubmitRecord record{};
  record.type = static_cast<uint8_t>(type);
  record.handle = handle;
  return record;
}

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_SUBMIT_RECORD_H_
