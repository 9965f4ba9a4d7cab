#ifndef KVFERRY_TESTS_SIM_CLIENT_H_
#define KVFERRY_TESTS_SIM_CLIENT_H_

#include <cstdint>
#include <deque>
#include <set>
#include <vector>

#include "daemon/core/session.h"
#include "protocol/shm_layout.h"
#include "tests/sim/memory.h"
#include "tests/sim/world.h"

namespace kvferry::sim {

// A fake client process with one session: its file, its reply ring, and what
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

  uint16_t session() const { return session_; }
  core::SessionMemory memory() const;

  // ReplySink
  uint32_t Room() const override;
  void Push(const protocol::ReplyRecord& record) override;

  // Block uses this client has validated pins on.
  virtual std::vector<BlockUse> validated() const { return {}; }
  // Block uses this client may write.
  virtual std::vector<BlockUse> writable() const { return {}; }

 protected:
  virtual void DoStep() = 0;

  protocol::PinCell& pin(uint32_t block) {
    return file_.At<protocol::PinCell>(protocol::kPinsOffset)[block];
  }
  protocol::SessionClientHeader& header() {
    return *file_.At<protocol::SessionClientHeader>(0);
  }

  World& world_;
  const uint16_t session_;
  FakeFile file_;
  bool dead_ = false;
  bool winding_down_ = false;
  std::deque<std::vector<protocol::SubmitRecord>> submissions_;
  std::deque<protocol::ReplyRecord> replies_;
};

// Matches random prefixes step by step, reads what it hit, unpins.
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

// Publishes chains, alone or as one rank of several; commits in any order,
// aborts, gives grants back when asked.
class Publisher : public Client {
 public:
  Publisher(World* world, uint16_t session, uint64_t slice_set);
  bool idle() const override;
  std::vector<BlockUse> writable() const override;
  // Answers it still waits for.
  uint32_t unanswered() const;

 protected:
  void DoStep() override;

 private:
  enum class Answered : uint8_t {
    kNo,
    kWriting,
    kElsewhere,  // exists, in flight, no space, void
    kEnding,     // commit or abort sent
    kEnded,
  };
  struct Position {
    BlockKey key;
    uint32_t offered = protocol::kNoBlock;
    uint32_t block = protocol::kNoBlock;
    uint32_t generation = 0;
    uint64_t written = 0;  // slices
    Answered answered = Answered::kNo;
    bool committing = false;
  };

  void OpenSome();
  void BeginSome();
  void EndSome(bool commit);
  void CloseIt();
  void TakeReply();
  bool WriteOne();
  uint64_t Slices() const;

  const uint64_t slice_set_;
  std::vector<std::vector<uint32_t>> grants_;  // by group
  bool open_ = false;
  bool closing_ = false;
  uint32_t handle_ = 0;
  uint32_t group_ = 0;
  uint64_t identity_ = 0;
  std::vector<BlockKey> chain_;
  std::vector<Position> positions_;
  uint32_t closes_sent_ = 0;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_CLIENT_H_
