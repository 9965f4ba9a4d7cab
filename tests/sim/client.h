#ifndef KVFERRY_TESTS_SIM_CLIENT_H_
#define KVFERRY_TESTS_SIM_CLIENT_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "daemon/core/session.h"
#include "protocol/progress_layout.h"
#include "protocol/shm_layout.h"
#include "tests/sim/memory.h"
#include "tests/sim/world.h"

namespace kvferry::sim {

// A publication that a client has open and that a ticket may be minted for.
struct OpenHandle {
  uint32_t handle = 0;
  uint32_t group = 0;
  std::vector<BlockKey> chain;
};

// A fake client process with one session: its files, its reply ring, and what
// it does, one small step at a time, so that the daemon can come in between.
class Client : public core::ReplySink {
 public:
  Client(World* world, uint16_t session);
  ~Client() override = default;

  // One step of the process; does nothing once dead.
  void Step();
  // Dies between two steps: its memory stays as it is until the daemon knows.
  void Die() { dead_ = true; }
  bool dead() const { return dead_; }
  // Ends what it is doing as soon as it can, and does nothing new.
  void WindDown() { winding_down_ = true; }
  virtual bool idle() const = 0;

  // The daemon's side of its rings: submits the next run if it has room for
  // the replies.
  void Pump();
  // Whether there is anything for it to take in.
  bool posted() const { return !submissions_.empty(); }

  uint16_t session() const { return session_; }
  // Its process uses the device, and imports the memory there as it comes.
  void UseDevice(uint32_t device) { device_ = device; }
  std::optional<uint32_t> device() const { return device_; }
  core::SessionMemory memory() const;
  // Its progress file, which readers may have mapped beyond its death.
  const std::shared_ptr<FakeFile>& progress() const { return progress_; }

  // ReplySink
  uint32_t Room() const override;
  void Push(const protocol::ReplyRecord& record) override;

  // Block uses this client has validated pins on: found ready, and found while
  // they were being written.
  virtual std::vector<BlockUse> validated() const { return {}; }
  virtual std::vector<BlockUse> followed() const { return {}; }
  // Those of followed() that every writer's word has passed.
  virtual std::vector<BlockUse> promised() const { return {}; }
  // Block uses this client may write, and the publication it does that for.
  virtual std::vector<BlockUse> writable() const { return {}; }
  virtual uint64_t identity() const { return 0; }
  // Null without a publication that the daemon has opened for it.
  virtual const OpenHandle* open_handle() const { return nullptr; }

 protected:
  virtual void DoStep() = 0;

  protocol::PinCell& pin(uint32_t block) {
    return file_.At<protocol::PinCell>(protocol::kPinsOffset)[block];
  }
  protocol::SessionClientHeader& header() {
    return *file_.At<protocol::SessionClientHeader>(0);
  }
  static protocol::ProgressRecord& ProgressAt(const FakeFile& file,
                                              uint32_t record) {
    return file.At<protocol::ProgressRecord>(
        protocol::kProgressRecordsOffset)[record];
  }

  // The memory of the block's pool that it has imported; 0: it cannot reach the
  // block. Always 1 for one of the host.
  uint32_t Imported(uint32_t block) const;

  World& world_;
  const uint16_t session_;
  FakeFile file_;
  const std::shared_ptr<FakeFile> progress_;
  bool dead_ = false;
  bool winding_down_ = false;
  std::optional<uint32_t> device_;
  std::vector<uint32_t> imported_;  // incarnations by pool; 0: none
  std::deque<std::vector<protocol::SubmitRecord>> submissions_;
  std::deque<protocol::ReplyRecord> replies_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_CLIENT_H_
