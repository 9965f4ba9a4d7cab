#ifndef KVFERRY_TESTS_SIM_READER_H_
#define KVFERRY_TESTS_SIM_READER_H_

#include <cstdint>
#include <vector>

#include "tests/sim/client.h"

namespace kvferry::sim {

// Matches random prefixes step by step, reads what it hit, unpins. With a
// device, it takes what it can reach of its memory before the host's, and
// believes no bytes of a memory that is gone when it has read them.
class Reader : public Client {
 public:
  using Client::Client;
  bool idle() const override { return phase_ == Phase::kIdle; }
  std::vector<BlockUse> validated() const override;

 protected:
  void DoStep() override;

 private:
  enum class Phase { kIdle, kPin, kValidate, kRead, kUnpin };
  struct Hit {
    BlockKey key;
    uint32_t slot = 0;  // bucket * 8 + slot
    uint64_t word = 0;
    bool in_gpu = false;
    uint32_t incarnation = 1;  // of the memory that it reads
    bool pinned = false;
    bool valid = false;
  };
  void FindAll();
  void Touch();

  Phase phase_ = Phase::kIdle;
  uint32_t group_ = 0;
  std::vector<Hit> hits_;
  size_t at_ = 0;
  uint32_t reads_left_ = 0;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_READER_H_
