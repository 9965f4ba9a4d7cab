#ifndef KVFERRY_DAEMON_CORE_ANSWERS_H_
#define KVFERRY_DAEMON_CORE_ANSWERS_H_

#include <cstdint>

#include "base/check.h"
#include "daemon/core/session.h"
#include "protocol/shm_layout.h"

namespace kvferry::core {

// The answers to one run, into a session's ring. Neighbouring positions with
// the same answer become one record; blocks that the daemon chose travel twelve
// a record.
class Answers {
 public:
  Answers(ReplySink* sink, uint32_t handle) : sink_(sink) {
    record_.handle = handle;
  }
  ~Answers() { Flush(); }

  // `block` is kNoBlock unless the client does not know it yet.
  void Add(uint32_t position, protocol::PublishAnswer answer, uint32_t block) {
    const protocol::ReplyType type = block == protocol::kNoBlock
                                         ? protocol::ReplyType::kAnswer
                                         : protocol::ReplyType::kAnswerBlocks;
    if (record_.count > 0 && (record_.type != static_cast<uint8_t>(type) ||
                              record_.answer != static_cast<uint8_t>(answer) ||
                              (block != protocol::kNoBlock &&
                               record_.count == protocol::kBlocksPerReply))) {
      Flush();
    }
    if (record_.count == 0) {
      record_.type = static_cast<uint8_t>(type);
      record_.answer = static_cast<uint8_t>(answer);
      record_.first = position;
    }
    if (block != protocol::kNoBlock) record_.blocks[record_.count] = block;
    ++record_.count;
  }

 private:
  void Flush() {
    if (record_.count == 0) return;
    KVFERRY_CHECK(sink_->Room() > 0);  // the caller asked RepliesMax
    sink_->Push(record_);
    record_.count = 0;
  }

  ReplySink* const sink_;
  protocol::ReplyRecord record_{};
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_ANSWERS_H_
