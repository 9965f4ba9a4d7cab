#include "tests/litmus/game.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/mapping.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "protocol/pin_fence.h"
#include "tests/litmus/shared_area.h"

namespace kvferry::litmus {
namespace {

using protocol::PackResidence;
using protocol::PinCell;
using protocol::Residence;
using protocol::ResidenceState;

// Long enough that a peer which runs is never waited for in the kernel; short
// enough not to burn a time slice against one that does not.
constexpr uint32_t kSpinsBeforeYield = 20'000;
// Up to so many turns of an empty loop before a side plays. The side that came
// last to a meeting leaves it first, by as long as a cache line takes to cross;
// the delays have to be wider than that to make every offset occur. On a
// 2-core virtual machine (AMD EPYC) `no_client_fence` shows 11,000 violations
// in a million rounds with 511, some 50 with 31.
constexpr uint64_t kDelayMask = 511;

uint64_t Word(uint32_t round, uint32_t generation, ResidenceState state) {
  return PackResidence(
      {.state = state, .block = round, .generation = generation});
}

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  void Delay() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    for (uint64_t i = state_ & kDelayMask; i > 0; --i) {
      std::atomic_signal_fence(std::memory_order_seq_cst);  // keeps the loop
    }
  }

 private:
  uint64_t state_;
};

// One side's end of the meetings: both sides leave a meeting only when both
// have come. No system call while both run.
class Meeting {
 public:
  Meeting(std::atomic<uint64_t>* mine, const std::atomic<uint64_t>* theirs,
          pid_t child)
      : mine_(mine), theirs_(theirs), child_(child) {}

  // Returns false when the other process (`child`, unless 0) is gone.
  bool Meet() {
    ++count_;
    // Release and acquire: what each side wrote before is seen after.
    mine_->store(count_, std::memory_order_release);
    for (uint32_t spins = 0; theirs_->load(std::memory_order_acquire) < count_;
         ++spins) {
      if (spins < kSpinsBeforeYield) continue;
      spins = 0;
      if (child_ != 0 && ::waitpid(child_, nullptr, WNOHANG) != 0) {
        return false;
      }
      ::sched_yield();
    }
    return true;
  }

 private:
  std::atomic<uint64_t>* const mine_;
  const std::atomic<uint64_t>* const theirs_;
  const pid_t child_;
  uint64_t count_ = 0;
};

template <Pin kPin>
void Raise(PinCell& cell) {
  if constexpr (kPin == Pin::kAtomicAdd) {
    cell.fetch_add(1, std::memory_order_relaxed);
  } else {
    const uint16_t count = cell.load(std::memory_order_relaxed);
    cell.store(static_cast<uint16_t>(count + 1), std::memory_order_relaxed);
  }
}

template <ClientFence kFence>
void FenceClient() {
  if constexpr (kFence == ClientFence::kFull) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } else if constexpr (kFence == ClientFence::kPinFence) {
    protocol::PinFence();
  } else {
    // The compiler is kept in order so that only the processor is tested.
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

template <DaemonFence kFence>
void FenceDaemon() {
  if constexpr (kFence == DaemonFence::kFull) {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

template <Pin kPin, ClientFence kFence>
void PlayClient(SharedArea* area) {
  Meeting meeting(&area->client_meetings, &area->daemon_meetings, 0);
  Random random(0x9e3779b97f4a7c15);
  do {
    for (uint32_t i = 0; i < kBatchRounds; ++i) {
      // Find. It also brings the slot near, as the real one does: the second
      // look is fast, the pin's store is slow, and there lies the danger.
      const uint64_t found = area->host(i).load(std::memory_order_acquire);
      meeting.Meet();
      random.Delay();

      Raise<kPin>(area->pins[i]);
      FenceClient<kFence>();
      const uint64_t again = area->host(i).load(std::memory_order_acquire);

      area->client_saw_ready[i].store(again == found,
                                      std::memory_order_relaxed);
    }
    meeting.Meet();
    for (PinCell& cell : area->pins) cell.store(0, std::memory_order_relaxed);
    meeting.Meet();
  } while (area->finished.load(std::memory_order_relaxed) == 0);
}

void MakeReady(SharedArea* area, uint32_t generation) {
  for (uint32_t i = 0; i < kBatchRounds; ++i) {
    area->host(i).store(Word(i, generation, ResidenceState::kReady),
                        std::memory_order_release);
  }
}

void Count(const SharedArea& area, Tally* tally) {
  for (uint32_t i = 0; i < kBatchRounds; ++i) {
    const bool ready =
        area.client_saw_ready[i].load(std::memory_order_relaxed) != 0;
    const bool pin =
        area.daemon_saw_pin[i].load(std::memory_order_relaxed) != 0;
    tally->violations += ready && !pin;
    tally->kept += ready && pin;
    tally->retired += !ready && !pin;
    tally->both_yielded += !ready && pin;
  }
  tally->rounds += kBatchRounds;
}

// Returns false when the client is gone.
template <DaemonFence kFence>
bool PlayDaemon(SharedArea* area, pid_t client, uint64_t rounds,
                uint64_t violations_enough, Tally* tally) {
  Meeting meeting(&area->daemon_meetings, &area->client_meetings, client);
  Random random(0xd1b54a32d192ed03);
  bool finished = false;
  for (uint32_t generation = 1; !finished; ++generation) {
    for (uint32_t i = 0; i < kBatchRounds; ++i) {
      // The first scan of a retirement: it brings the cell near. It finds
      // nothing, since nobody pins before the meeting.
      const bool pinned_before =
          area->pins[i].load(std::memory_order_acquire) != 0;
      if (!meeting.Meet()) return false;
      random.Delay();

      area->host(i).store(Word(i, generation, ResidenceState::kRetiring),
                          std::memory_order_relaxed);
      FenceDaemon<kFence>();
      const bool pinned = area->pins[i].load(std::memory_order_acquire) != 0;

      area->daemon_saw_pin[i].store(pinned || pinned_before,
                                    std::memory_order_relaxed);
    }
    if (!meeting.Meet()) return false;
    Count(*area, tally);
    MakeReady(area, generation + 1);
    finished =
        tally->rounds >= rounds || tally->violations >= violations_enough;
    area->finished.store(finished, std::memory_order_relaxed);
    if (!meeting.Meet()) return false;
  }
  return true;
}

void PlayClientOf(const Variant& variant, SharedArea* area) {
  if (variant.pin == Pin::kAtomicAdd) {
    PlayClient<Pin::kAtomicAdd, ClientFence::kPinFence>(area);
  } else if (variant.client_fence == ClientFence::kFull) {
    PlayClient<Pin::kLoadAndStore, ClientFence::kFull>(area);
  } else {
    PlayClient<Pin::kLoadAndStore, ClientFence::kNone>(area);
  }
}

absl::Status PinTo(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (::sched_setaffinity(0, sizeof(set), &set) != 0) {
    return ErrnoStatus(errno, absl::StrCat("pin to CPU ", cpu));
  }
  return absl::OkStatus();
}

absl::StatusOr<Mapping> MapArea(const UniqueFd& file) {
  return Mapping::Map(file.get(), sizeof(SharedArea),
                      Mapping::Access::kReadWrite);
}

// The client process. Its exit status says whether it played to the end.
[[noreturn]] void RunClient(const Variant& variant, int cpu,
                            const UniqueFd& file) {
  // Not to spin for ever when the daemon is interrupted.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  // A mapping of its own: ours are not inherited (MADV_DONTFORK).
  absl::StatusOr<Mapping> mapping = MapArea(file);
  if (!mapping.ok() || !PinTo(cpu).ok()) ::_exit(1);
  PlayClientOf(variant, mapping->At<SharedArea>(0));
  ::_exit(0);
}

}  // namespace

absl::StatusOr<Cpus> ChooseCpus() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (::sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
    return ErrnoStatus(errno, "sched_getaffinity");
  }
  if (CPU_COUNT(&allowed) < 2) {
    return absl::UnavailableError(absl::StrCat(
        "litmus: ", CPU_COUNT(&allowed),
        " CPU is available, need 2: on one nothing can be reordered"));
  }
  // The first and the last: the least likely to be two threads of one core.
  Cpus cpus{.daemon = -1, .client = -1};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    if (cpus.daemon < 0) cpus.daemon = cpu;
    cpus.client = cpu;
  }
  return cpus;
}

absl::StatusOr<Tally> Play(const Variant& variant, Cpus cpus, uint64_t rounds,
                           uint64_t violations_enough) {
  UniqueFd file(::memfd_create("kvferry-litmus", MFD_CLOEXEC));
  if (!file.valid()) return ErrnoStatus(errno, "memfd_create");
  if (::ftruncate(file.get(), sizeof(SharedArea)) != 0) {
    return ErrnoStatus(errno, "ftruncate of the shared area");
  }
  KVFERRY_ASSIGN_OR_RETURN(const Mapping mapping, MapArea(file));
  auto* area = mapping.At<SharedArea>(0);
  MakeReady(area, 1);
  KVFERRY_RETURN_IF_ERROR(PinTo(cpus.daemon));

  const pid_t client = ::fork();
  if (client < 0) return ErrnoStatus(errno, "fork");
  if (client == 0) RunClient(variant, cpus.client, file);

  Tally tally;
  const auto start = std::chrono::steady_clock::now();
  const bool played =
      variant.daemon_fence == DaemonFence::kFull
          ? PlayDaemon<DaemonFence::kFull>(area, client, rounds,
                                           violations_enough, &tally)
          : PlayDaemon<DaemonFence::kNone>(area, client, rounds,
                                           violations_enough, &tally);
  tally.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
          .count();
  if (!played) {
    return absl::AbortedError(absl::StrCat("litmus: the client process of ",
                                           variant.name, " ended after ",
                                           tally.rounds, " rounds"));
  }
  if (::waitpid(client, nullptr, 0) != client) {
    return ErrnoStatus(errno, "waitpid of the client process");
  }
  return tally;
}

}  // namespace kvferry::litmus
