#include "tools/kvferry-replay/coordinator.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "tools/kvferry-replay/progress_bar.h"

namespace kvferry::replay {
namespace {

// One that a worker is at, one that waits for it: enough that it never waits
// for us, few enough that the trace's order is kept.
constexpr size_t kJobsAtHand = 2;
// How often the loop wakes without news, to redraw the progress bar.
constexpr absl::Duration kTick = absl::Milliseconds(200);
constexpr absl::Duration kEndTimeout = absl::Seconds(10);

absl::Status Interrupted() {
  return absl::CancelledError(
      absl::StrCat("stopped by signal ", InterruptWatch::signal_number(), " (",
                   ::strsignal(InterruptWatch::signal_number()), ")"));
}

}  // namespace

Coordinator::Coordinator(const ReplayOptions& options,
                         const std::vector<TraceRequest>& requests,
                         const InterruptWatch& interrupt)
    : options_(options), requests_(requests), interrupt_(interrupt) {}

absl::Status Coordinator::StartWorker(uint32_t number) {
  // Resolved, so that `ps` shows the program's name.
  std::error_code error;
  const std::string self =
      std::filesystem::read_symlink("/proc/self/exe", error).string();
  if (error) return ErrnoStatus(error.value(), "/proc/self/exe");
  std::array<int, 2> ends;
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return ErrnoStatus(errno, "socketpair");
  }
  Worker worker;
  worker.number = number;
  worker.channel = std::make_unique<JobChannel>(UniqueFd(ends[0]));
  const UniqueFd theirs(ends[1]);
  KVFERRY_ASSIGN_OR_RETURN(
      worker.process,
      ChildProcess::Start(
          {"/proc/self/exe", "--worker-fd",
           absl::StrCat(ChildProcess::kInheritedFd), "--worker-number",
           absl::StrCat(number), "--socket", options_.socket, "--namespace",
           options_.namespace_name, "--page-size",
           absl::StrCat(options_.page_bytes), "--block-tokens",
           absl::StrCat(options_.block_tokens), "--seed",
           absl::StrCat(options_.seed), "--timeout",
           absl::FormatDuration(options_.timeout)},
          theirs.get()));
  workers_.push_back(std::move(worker));
  return absl::OkStatus();
}

absl::Status Coordinator::StartWorkers() {
  for (uint32_t i = 0; i < options_.worker_count; ++i) {
    KVFERRY_RETURN_IF_ERROR(StartWorker(i));
  }
  // A worker gives up by itself after options_.timeout and says why; twice
  // that means that it hangs.
  const absl::Time deadline = absl::Now() + 2 * options_.timeout;
  while (!std::all_of(workers_.begin(), workers_.end(),
                      [](const Worker& worker) { return worker.ready; })) {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("a worker did not attach within ",
                       absl::FormatDuration(2 * options_.timeout)));
    }
    KVFERRY_RETURN_IF_ERROR(TakeIn(kTick, nullptr));
  }
  return absl::OkStatus();
}

absl::Status Coordinator::Replay(ReplayReport* report) {
  ProgressBar progress(requests_.size());
  const absl::Time start = absl::Now();
  while (report->requests() < requests_.size()) {
    absl::Time next_due = absl::InfiniteFuture();
    KVFERRY_RETURN_IF_ERROR(Deal(start, &next_due));
    KVFERRY_RETURN_IF_ERROR(
        TakeIn(std::min(kTick, next_due - absl::Now()), report));
    progress.Update(report->requests());
  }
  report->set_wall_time(absl::Now() - start);
  return absl::OkStatus();
}

absl::Status Coordinator::Deal(absl::Time start, absl::Time* next_due) {
  for (; dealt_ < requests_.size(); ++dealt_) {
    const TraceRequest& request = requests_[dealt_];
    if (options_.pace > 0) {
      const double due_ms =
          static_cast<double>(request.timestamp_ms -
                              requests_.front().timestamp_ms) /
          options_.pace;
      const absl::Time due = start + absl::Milliseconds(due_ms);
      if (due > absl::Now()) {
        *next_due = due;
        return absl::OkStatus();
      }
    }
    Worker* worker = LeastBusy();
    if (worker->at_hand.size() >= kJobsAtHand) return absl::OkStatus();
    worker->at_hand.push_back(dealt_);
    const absl::Status sent = worker->channel->SendJob(
        {dealt_, request.line, request.input_tokens, request.hash_ids});
    if (!sent.ok()) return DescribeDeath(worker);
  }
  return absl::OkStatus();
}

Coordinator::Worker* Coordinator::LeastBusy() {
  return &*std::min_element(workers_.begin(), workers_.end(),
                            [](const Worker& a, const Worker& b) {
                              return a.at_hand.size() < b.at_hand.size();
                            });
}

absl::Status Coordinator::TakeIn(absl::Duration timeout, ReplayReport* report) {
  std::vector<pollfd> polled;
  for (const Worker& worker : workers_) {
    polled.push_back({worker.channel->fd(), POLLIN, 0});
  }
  polled.push_back({interrupt_.fd(), POLLIN, 0});
  // Rounded up, so that a request that is due in less does not spin.
  const timespec wait =
      absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
  if (::ppoll(polled.data(), polled.size(), &wait, nullptr) < 0 &&
      errno != EINTR) {
    return ErrnoStatus(errno, "ppoll");
  }
  if (InterruptWatch::signal_number() != 0) return Interrupted();
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (polled[i].revents != 0) {
      KVFERRY_RETURN_IF_ERROR(TakeInFrom(&workers_[i], report));
    }
  }
  return absl::OkStatus();
}

absl::Status Coordinator::TakeInFrom(Worker* worker, ReplayReport* report) {
  absl::StatusOr<std::optional<WorkerMessage>> message =
      worker->channel->ReceiveMessage();
  if (!message.ok() || !*message) return DescribeDeath(worker);
  switch ((*message)->event) {
    case WorkerEvent::kReady:
      worker->ready = true;
      return absl::OkStatus();
    case WorkerEvent::kFailed:
      return WithContext((*message)->status,
                         absl::StrCat("worker ", worker->number));
    case WorkerEvent::kDone:
      break;
  }
  if (report == nullptr || worker->at_hand.empty() ||
      worker->at_hand.front() != (*message)->result.request) {
    return absl::InternalError(
        absl::StrCat("worker ", worker->number, " answered request ",
                     (*message)->result.request, " out of turn"));
  }
  worker->at_hand.pop_front();
  report->Add((*message)->result);
  return absl::OkStatus();
}

absl::Status Coordinator::DescribeDeath(Worker* worker) {
  const std::optional<int> wait_status = worker->process->Wait(kEndTimeout);
  return absl::AbortedError(absl::StrCat(
      "worker ", worker->number, " (process ", worker->process->pid(), ") ",
      wait_status ? DescribeEnd(*wait_status) : "closed its channel",
      worker->at_hand.empty()
          ? " before it was given a request"
          : absl::StrCat(" at line ", requests_[worker->at_hand.front()].line,
                         " of the trace")));
}

absl::Status Coordinator::EndWorkers() {
  for (Worker& worker : workers_) worker.channel->CloseJobs();
  for (Worker& worker : workers_) {
    const std::optional<int> wait_status = worker.process->Wait(kEndTimeout);
    if (!wait_status) {
      return absl::DeadlineExceededError(
          absl::StrCat("worker ", worker.number, " did not end within ",
                       absl::FormatDuration(kEndTimeout)));
    }
    if (*wait_status != 0) {
      return absl::AbortedError(absl::StrCat("worker ", worker.number, " ",
                                             DescribeEnd(*wait_status),
                                             " after its last request"));
    }
  }
  return absl::OkStatus();
}

}  // namespace kvferry::replay
