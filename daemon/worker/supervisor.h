#ifndef KVFERRY_DAEMON_WORKER_SUPERVISOR_H_
#define KVFERRY_DAEMON_WORKER_SUPERVISOR_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace kvferry::worker {

// When a worker process is to be started, to be killed, and to be tried again.
// A state machine without processes or clock: its owner tells it what happened
// and does what Due says.
//
//            Due: spawn             SaidHello
//   kBackoff ----------> kStarting -----------> kServing
//      ^  ^                  |                     |
//      |  '-- SpawnFailed    | SaidUnusable, GiveUp, a deadline (Due: kill)
//      |                     v                     |
//      '---- Exited ----- kEnding <----------------'
//                            |
//                            '-- Exited, after a permanent SaidUnusable
//                                --> kUnusable
//
// A worker may exit in any state (Exited): it is tried again after a while that
// doubles with each failure and begins anew once one has served for long.
//
// Threads  one at a time
class Supervisor {
 public:
  enum class State : uint8_t {
    kBackoff,   // no process; the next one is due at a certain time
    kStarting,  // a process that has not said Hello
    kServing,
    kEnding,    // it has ended its work, or was killed: its exit is to come
    kUnusable,  // no process, and there will be none
  };
  enum class Action : uint8_t { kNone, kSpawn, kKill };

  struct Options {
    // Opening a device may take long while the driver starts.
    uint64_t hello_deadline_ms = 60 * 1000;
    // From a request to its answer; also from its last word to its exit.
    uint64_t answer_deadline_ms = 10 * 1000;
    uint64_t backoff_min_ms = 100;
    uint64_t backoff_max_ms = 30 * 1000;
    // Who has served so long begins with the shortest backoff again.
    uint64_t stable_ms = 60 * 1000;
    // The same reason is worth a line in the log this often.
    uint64_t log_again_ms = 600 * 1000;
  };

  Supervisor() : Supervisor(Options()) {}
  explicit Supervisor(const Options& options) : options_(options) {}

  // What is to be done now; having done it, the owner calls what belongs to it
  // (Spawned or SpawnFailed; after a kill, Exited once it is gone).
  // `unanswered_since_ms`: of the oldest request of a serving worker.
  Action Due(uint64_t now_ms, std::optional<uint64_t> unanswered_since_ms);
  // When Due is to be asked again; UINT64_MAX: not before something happens.
  uint64_t NextDueMs(std::optional<uint64_t> unanswered_since_ms) const;

  void Spawned(uint64_t now_ms);
  void SpawnFailed(absl::string_view reason, uint64_t now_ms);
  void SaidHello(uint64_t now_ms);
  // It ends by itself. Permanent: the next one would say the same.
  void SaidUnusable(absl::string_view reason, bool permanent, uint64_t now_ms);
  // It broke the protocol, or is of no use: the owner kills it.
  void GiveUp(absl::string_view reason, uint64_t now_ms);
  // It closed its socket: it is ending, and how will be known soon.
  void Closed(uint64_t now_ms);
  // `how` it ended counts when nothing said before why it would.
  void Exited(absl::string_view how, uint64_t now_ms);

  State state() const { return state_; }
  // Why there is no worker that serves; empty while one does.
  const std::string& reason() const { return reason_; }
  // Processes started, but for the first.
  uint32_t restarts() const { return spawns_ == 0 ? 0 : spawns_ - 1; }
  // Of state kBackoff.
  uint64_t retry_at_ms() const { return due_ms_; }

  // The reason, when it is news: another than the last one that was taken, or
  // the same after a long time. With how often it was not news.
  std::optional<std::string> TakeNews(uint64_t now_ms);

 private:
  void Fail(uint64_t now_ms);

  const Options options_;
  State state_ = State::kBackoff;
  bool permanent_ = false;
  std::string reason_;
  bool reason_is_provisional_ = false;
  uint64_t due_ms_ = 0;      // kBackoff: of the next spawn
  uint64_t since_ms_ = 0;    // kStarting, kServing, kEnding
  uint64_t backoff_ms_ = 0;  // the last one; 0: none yet
  uint32_t spawns_ = 0;
  bool has_news_ = false;
  std::string last_news_;
  uint64_t last_news_ms_ = 0;
  uint32_t kept_back_ = 0;
};

}  // namespace kvferry::worker

#endif  // KVFERRY_DAEMON_WORKER_SUPERVISOR_H_
