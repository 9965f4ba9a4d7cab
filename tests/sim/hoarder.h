#ifndef KVFERRY_TESTS_SIM_HOARDER_H_
#define KVFERRY_TESTS_SIM_HOARDER_H_

#include <cstdint>

#include "tests/sim/client.h"
#include "tests/sim/submit_record.h"

namespace kvferry::sim {

// Opens publications and leaves them open, so that few publication slots are
// left and those are used again at once.
class Hoarder : public Client {
 public:
  Hoarder(World* world, uint16_t session, uint32_t publications)
      : Client(world, session), publications_(publications) {}

  void OpenAll() {
    for (uint32_t i = 0; i < publications_; ++i) {
      protocol::SubmitRecord open =
          MakeRecord(protocol::SubmitType::kOpen, 1 + i);
      open.open.engine_instance = 8 + session_;
      open.open.publication = i;
      open.open.slice_set = 1;
      submissions_.push_back({open});
      Pump();
      replies_.clear();
    }
  }
  bool idle() const override { return true; }

 protected:
  void DoStep() override {}

 private:
  const uint32_t publications_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_HOARDER_H_
