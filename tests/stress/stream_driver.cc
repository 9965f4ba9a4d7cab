#include "tests/stress/stream_driver.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "tests/stress/stream_reader.h"
#include "tests/support/stream_payload.h"

namespace kvferry::test {
namespace {

constexpr uint32_t kReadersMax = 3;

}  // namespace

absl::Status StreamDriver::Attach() {
  for (uint32_t i = 0; i < kReadersMax; ++i) {
    AttachOptions options;
    options.socket_path = options_.socket;
    options.spec = RoundSpec();
    options.publish = false;
    options.client_name = "stream stress reader";
    KVFERRY_ASSIGN_OR_RETURN(clients_.emplace_back(), Client::Attach(options));
  }
  return absl::OkStatus();
}

void StreamDriver::ResetLane() {
  StreamLane& lane = *options_.lane;
  for (StreamLane::Publisher& publisher : lane.publishers) {
    publisher.committing.store(0);
    publisher.committed.store(0);
    publisher.scribbled.store(0);
  }
  lane.ticket_bytes.store(0);
  lane.begun_ranks.store(0);
  lane.publishers_gone.store(0);
  lane.publishers_stopped.store(0);
}

pid_t StreamDriver::Spawn(const RoundPlan& plan, uint32_t which) const {
  std::vector<std::string> args = {"kvferry_stream_stress",
                                   "--child",
                                   absl::StrCat(which),
                                   "--seed",
                                   absl::StrCat(plan.seed),
                                   "--socket",
                                   options_.socket,
                                   "--lanes-fd",
                                   absl::StrCat(options_.lanes_fd),
                                   "--lane-index",
                                   absl::StrCat(options_.lane_index)};
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  // Only async-signal-safe calls: there are other threads.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
  ::execv("/proc/self/exe", argv.data());
  ::_exit(127);
}

absl::Status StreamDriver::RunRound(const RoundPlan& plan) {
  ResetLane();
  StreamLane& lane = *options_.lane;
  std::vector<Child> publishers(plan.publishers.size());
  for (uint32_t i = 0; i < publishers.size(); ++i) {
    publishers[i].pid = Spawn(plan, i);
    if (publishers[i].pid < 0) return ErrnoStatus(errno, "fork");
  }
  Child victim;
  if (plan.victim) {
    victim.pid = Spawn(plan, static_cast<uint32_t>(publishers.size()));
  }
  std::atomic<uint32_t> readers_done{0};
  std::vector<std::unique_ptr<StreamReader>> readers;
  std::vector<absl::Status> results(plan.readers.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < plan.readers.size(); ++i) {
    readers.push_back(std::make_unique<StreamReader>(clients_[i].get(), plan,
                                                     plan.readers[i], lane));
    threads.emplace_back([this, reader = readers.back().get(),
                          result = &results[i], &readers_done] {
      *result = reader->Run(options_.patience);
      readers_done.fetch_add(1);
    });
  }

  absl::Status status =
      WatchPublishers(plan, readers_done, &publishers, &victim);
  const absl::Time gone = absl::Now();
  for (std::thread& thread : threads) thread.join();
  const absl::Duration released = absl::Now() - gone;
  slowest_release_ = std::max(slowest_release_, released);
  if (released > options_.release_limit) {
    status.Update(absl::DeadlineExceededError(
        absl::StrCat("readers were released ", absl::FormatDuration(released),
                     " after the last publisher")));
  }
  const uint32_t bound = Committing(plan);
  for (size_t i = 0; i < readers.size(); ++i) {
    status.Update(WithContext(results[i], absl::StrCat("reader ", i)));
    if (readers[i]->accepted() > bound) {
      status.Update(absl::DataLossError(absl::StrCat(
          "reader ", i, " accepted ", readers[i]->accepted(),
          " blocks, no more than ", bound, " were ever committed")));
    }
    verified_blocks_ += readers[i]->verified_blocks();
    streams_ += readers[i]->streams();
  }
  readers.clear();
  status.Update(CheckEndings(plan, publishers));
  if (status.ok()) status = CheckWhatIsLeft(plan);
  if (const uint32_t bytes = lane.ticket_bytes.load(); bytes != 0) {
    status.Update(
        clients_[0]->ReleaseTicket(Ticket{std::string(lane.ticket, bytes)}));
  }
  for (const StreamLane::Publisher& publisher : lane.publishers) {
    scribbled_blocks_ += publisher.scribbled.load();
  }
  return status;
}

absl::Status StreamDriver::WatchPublishers(
    const RoundPlan& plan, const std::atomic<uint32_t>& readers_done,
    std::vector<Child>* publishers, Child* victim) {
  StreamLane& lane = *options_.lane;
  absl::Status status;
  const absl::Time deadline = absl::Now() + 2 * options_.patience;
  absl::Time last_change = absl::Now();
  const absl::Duration limit =
      absl::Milliseconds(kRoundStallMs) + options_.release_limit;
  for (;;) {
    uint32_t running = 0;
    uint32_t stopped = 0;
    for (Child& child : *publishers) {
      if (child.pid == 0) continue;
      int wait_status = 0;
      if (::waitpid(child.pid, &wait_status, WNOHANG | WUNTRACED) ==
          child.pid) {
        last_change = absl::Now();
        if (WIFSTOPPED(wait_status)) {
          child.stopped = true;
          child.stopped_at = absl::Now();
        } else {
          child.pid = 0;
          child.wait_status = wait_status;
          continue;
        }
      }
      (child.stopped ? stopped : running) += 1;
    }
    if (victim->pid != 0 &&
        (Committing(plan) >= plan.victim_dies_at || running + stopped == 0)) {
      ::kill(victim->pid, SIGKILL);
      ::waitpid(victim->pid, nullptr, 0);
      victim->pid = 0;
    }
    if (running + stopped == 0) {
      lane.publishers_gone.store(1);
      return status;
    }
    lane.publishers_stopped.store(running == 0 ? 1 : 0);
    for (Child& child : *publishers) {
      if (child.pid == 0 || !child.stopped) continue;
      const absl::Duration stands = absl::Now() - child.stopped_at;
      bool go_on = false;
      if (plan.pause_ms != 0) {
        go_on = stands >= absl::Milliseconds(plan.pause_ms);
      } else {
        // It is given up, and so whoever waits for it comes back.
        go_on = readers_done.load() == plan.readers.size();
        if (!go_on && running == 0 && absl::Now() - last_change > limit) {
          status.Update(absl::DeadlineExceededError(
              "readers stay with a publisher that stands still"));
          go_on = true;
        }
      }
      if (go_on) {
        child.stopped = false;
        ::kill(child.pid, SIGCONT);
      }
    }
    if (absl::Now() > deadline) {
      status.Update(absl::DeadlineExceededError("a publisher does not end"));
      for (const Child& child : *publishers) {
        if (child.pid != 0) ::kill(child.pid, SIGKILL);
      }
    }
    absl::SleepFor(absl::Microseconds(300));
  }
}

absl::Status StreamDriver::CheckEndings(
    const RoundPlan& plan, const std::vector<Child>& publishers) const {
  for (size_t i = 0; i < publishers.size(); ++i) {
    const int wait_status = publishers[i].wait_status;
    const bool as_planned =
        plan.publishers[i].ending == Ending::kKilled
            ? WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL
            : WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == 0;
    if (!as_planned) {
      return absl::InternalError(absl::StrCat(
          "publisher ", i, " ended with wait status ", wait_status));
    }
  }
  return absl::OkStatus();
}

absl::Status StreamDriver::CheckWhatIsLeft(const RoundPlan& plan) {
  Client& client = *clients_[0];
  const std::vector<BlockKey> keys =
      RoundKeys(client.info(), plan.seed, plan.blocks);
  const uint32_t committed = Committed(plan);
  PinnedPrefix prefix;
  // The daemon may still have to hear of the death.
  const absl::Time deadline = absl::Now() + options_.release_limit;
  for (;;) {
    KVFERRY_RETURN_IF_ERROR(client.Match(keys, &prefix));
    if (prefix.block_count() >= committed) break;
    if (absl::Now() > deadline) {
      return absl::DataLossError(
          absl::StrCat(committed, " blocks were committed, ",
                       prefix.block_count(), " are there"));
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  for (uint32_t b = 0; b < prefix.block_count(); ++b) {
    for (uint32_t s = 0; s < kRoundSlices; ++s) {
      if (!IsPayload(keys[b], s, 0, prefix.page(b, s))) {
        return absl::DataLossError(
            absl::StrCat("block ", b, ", which is ready, has wrong bytes"));
      }
    }
  }
  verified_blocks_ += prefix.block_count();
  return prefix.Check();
}

uint32_t StreamDriver::Committed(const RoundPlan& plan) const {
  const uint32_t a = options_.lane->publishers[0].committed.load();
  const uint32_t b = options_.lane->publishers[1].committed.load();
  return plan.scenario == Scenario::kRanks ? std::min(a, b) : std::max(a, b);
}

uint32_t StreamDriver::Committing(const RoundPlan& plan) const {
  const uint32_t a = options_.lane->publishers[0].committing.load();
  const uint32_t b = options_.lane->publishers[1].committing.load();
  return plan.scenario == Scenario::kRanks ? std::min(a, b) : std::max(a, b);
}

}  // namespace kvferry::test
