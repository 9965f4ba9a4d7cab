#ifndef KVFERRY_TESTS_SIM_PUBLISHER_H_
#define KVFERRY_TESTS_SIM_PUBLISHER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/client.h"

namespace kvferry::sim {

// Publishes chains, alone or as one rank of several; commits in any order,
// aborts, stands by, gives grants back when asked, and tells how far it is in
// its progress record. Sometimes it stands still for longer than it said that
// it would, and then goes on as if nothing had been.
class Publisher : public Client {
 public:
  Publisher(World* world, uint16_t session, uint64_t slice_set);
  bool idle() const override;
  std::vector<BlockUse> writable() const override;
  uint64_t identity() const override { return identity_; }
  const OpenHandle* open_handle() const override;

 protected:
  void DoStep() override;

 private:
  enum class Begun : uint8_t {
    kUnanswered,
    kMine,       // also as a standby
    kElsewhere,  // exists, in flight, no space, void
  };
  enum class Ended : uint8_t { kNo, kAsked, kAnswered };
  struct Position {
    BlockKey key;
    uint32_t offered = protocol::kNoBlock;
    uint32_t block = protocol::kNoBlock;
    uint32_t generation = 0;
    uint32_t pool = 0;         // that it was begun in
    uint32_t incarnation = 0;  // of the memory that it was written into
    uint64_t written = 0;      // bit layer * kSlices + slice
    Begun begun = Begun::kUnanswered;
    Ended ended = Ended::kNo;
    bool standby = false;
    bool committed = false;
    bool aborted = false;
    bool passed = false;  // by the progress word
  };
  // What happens in steps of its own, in order.
  enum class ActionType : uint8_t {
    kSubmit,
    kWord,
    kChanges,
    kChunkEnd,
    kGiveUp,
    kHandOverData,
    kHandOverBytes,
  };
  struct Action {
    ActionType type = ActionType::kWord;
    protocol::SubmitRecord record{};  // kSubmit
  };

  // publisher.cc
  void OpenSome();
  void BeginSome();
  void EndSome(bool commit);
  void CloseIt();
  bool WriteOne();
  uint64_t Slices() const;
  uint64_t Pages() const;
  // Whether it may write the position's pages: it was given the block, or (it
  // does not wait for the answer) offered one of its own.
  static bool Mine(const Position& position);
  // Whether it may say that it has written the position: what it wrote is in
  // the memory that there is now.
  bool Stands(const Position& position) const;
  uint32_t unanswered() const;

  // publisher_progress.cc
  void LayerSome();
  void SetHandOver();
  void Do(const Action& action);
  void StoreWord();
  // Leading positions that are committed or not its to write.
  uint32_t Leading() const;
  protocol::ProgressRecord& progress_record() const {
    return ProgressAt(*progress_, record_);
  }

  // publisher_replies.cc
  void TakeReply();
  void TakeOpened(const protocol::ReplyRecord& record);
  void GiveBack(uint32_t group, uint32_t pool);
  void TakeBegun(Position& position, const protocol::ReplyRecord& record,
                 uint32_t i);
  void TakeEnded(Position& position, const protocol::ReplyRecord& record);

  const uint64_t slice_set_;
  // By group and pool.
  std::map<std::pair<uint32_t, uint32_t>, std::vector<uint32_t>> grants_;
  bool open_ = false;
  bool opened_ = false;  // the daemon has answered
  bool closing_ = false;
  bool hasty_ = false;  // writes into what it offered before it is answered
  OpenHandle handle_;
  uint64_t identity_ = 0;
  std::vector<Position> positions_;
  std::deque<Action> actions_;
  uint64_t stall_ms_ = 0;
  uint64_t stands_until_ms_ = 0;
  // Its progress record; generation 0: it cannot be followed.
  uint32_t record_ = 0;
  uint32_t generation_ = 0;
  uint32_t layers_ = 0;
  uint32_t chunk_end_ = 0;
  std::string hand_over_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_PUBLISHER_H_
