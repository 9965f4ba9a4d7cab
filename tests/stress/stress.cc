// Readers and publishers in processes of their own against a real daemon whose
// memory holds a part of what they publish, so that it evicts all the time.
// Every word of every hit is checked. Clients are killed at random moments and
// replaced.
//
//   kvferry_stress [--hits N] [--seed S] [--readers R] [--publishers P]
//                  [--keep-clients]
//
// Succeeds when N block hits were verified, none was wrong, and afterwards,
// with every client gone, no block is granted, publishing or pinned.

#include <fmt/core.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kvferry/admin.h"
#include "kvferry/client.h"
#include "tests/stress/payload.h"
#include "tests/support/daemon_process.h"

namespace {

using kvferry::BlockKey;

constexpr uint32_t kChains = 400;
constexpr uint32_t kBlocksPerChain = 48;
constexpr uint32_t kPageBytes = 4096;

// Shared by all processes of the test (anonymous, before the forks).
struct Shared {
  std::atomic<uint64_t> hits;
  std::atomic<uint64_t> mismatches;
  std::atomic<uint64_t> published;
  std::atomic<uint64_t> stop;
  std::atomic<uint64_t> failures;
};

kvferry::AttachOptions Options(const std::string& socket) {
  kvferry::AttachOptions options;
  options.socket_path = socket;
  options.spec.name = "stress";
  options.spec.groups = {kvferry::OpaqueGroup(16, kPageBytes, 2)};
  return options;
}

// Chains of one family share their first half, as conversations do.
std::vector<BlockKey> Chain(const kvferry::NamespaceInfo& info,
                            uint32_t chain) {
  kvferry::KeyHasher hasher(info.salt, 0, 16);
  std::vector<uint32_t> tokens(16 * kBlocksPerChain);
  for (uint32_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = (i < tokens.size() / 2 ? chain / 8 : chain) * 100003 + i;
  }
  std::vector<BlockKey> keys;
  hasher.HashBlocks({}, tokens, &keys);
  return keys;
}

void Report(const char* who, const absl::Status& status, Shared* shared) {
  fmt::print(stderr, "{} {}: {}\n", who, ::getpid(),
             std::string(status.message()));
  shared->failures.fetch_add(1);
}

void Read(const std::string& socket, uint64_t seed, Shared* shared) {
  auto client = kvferry::Client::Attach(Options(socket));
  if (!client.ok()) return Report("reader", client.status(), shared);
  std::mt19937_64 random(seed);
  std::vector<std::vector<BlockKey>> chains;
  for (uint32_t i = 0; i < kChains; ++i) {
    chains.push_back(Chain((*client)->info(), i));
  }
  kvferry::PinnedPrefix prefix;
  while (shared->stop.load(std::memory_order_relaxed) == 0) {
    const std::vector<BlockKey>& keys = chains[random() % kChains];
    const size_t count = 1 + random() % keys.size();
    const absl::Status status =
        (*client)->Match(std::span(keys).first(count), &prefix);
    if (!status.ok()) return Report("reader", status, shared);
    uint64_t wrong = 0;
    for (uint32_t b = 0; b < prefix.block_count(); ++b) {
      for (uint32_t slice = 0; slice < 2; ++slice) {
        const int64_t word = kvferry::test::FirstWrongWord(
            keys[b], slice, prefix.page(b, slice));
        if (word < 0) continue;
        ++wrong;
        fmt::print(stderr, "reader {}: block {} slice {} word {} is wrong\n",
                   ::getpid(), b, slice, word);
      }
    }
    if (prefix.Check().ok()) shared->mismatches.fetch_add(wrong);
    shared->hits.fetch_add(prefix.block_count());
    prefix.Release();
  }
}

void Publish(const std::string& socket, uint64_t seed, Shared* shared) {
  auto client = kvferry::Client::Attach(Options(socket));
  if (!client.ok()) return Report("publisher", client.status(), shared);
  std::mt19937_64 random(seed);
  kvferry::PinnedPrefix prefix;
  while (shared->stop.load(std::memory_order_relaxed) == 0) {
    const std::vector<BlockKey> keys =
        Chain((*client)->info(), static_cast<uint32_t>(random() % kChains));
    absl::Status status = (*client)->Match(keys, &prefix);
    if (!status.ok()) return Report("publisher", status, shared);
    const uint32_t have = prefix.block_count();
    prefix.Release();
    if (have == keys.size()) continue;
    auto publication = (*client)->OpenPublication();
    if (!publication.ok()) {
      return Report("publisher", publication.status(), shared);
    }
    const std::span<const BlockKey> rest = std::span(keys).subspan(have);
    auto first =
        publication->Begin(0, have == 0 ? BlockKey{} : keys[have - 1], rest);
    if (!first.ok()) return Report("publisher", first.status(), shared);
    for (uint32_t i = 0; i < rest.size(); ++i) {
      for (uint32_t slice = 0; slice < 2; ++slice) {
        const std::span<std::byte> page = publication->page(i, slice);
        if (!page.empty()) kvferry::test::FillPage(rest[i], slice, page);
      }
    }
    // Now and then given up half way.
    if (random() % 8 == 0) {
      status = publication->Commit(0, static_cast<uint32_t>(rest.size() / 2));
      publication->Abort();
    } else {
      status =
          publication->CommitAndWait(0, static_cast<uint32_t>(rest.size()));
    }
    if (!status.ok()) return Report("publisher", status, shared);
    status = publication->Close();
    if (!status.ok()) return Report("publisher", status, shared);
    shared->published.fetch_add(rest.size());
  }
}

pid_t Spawn(bool reader, const std::string& socket, uint64_t seed,
            Shared* shared) {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(1);
  const uint64_t failures = shared->failures.load();
  reader ? Read(socket, seed, shared) : Publish(socket, seed, shared);
  ::_exit(shared->failures.load() == failures ? 0 : 1);
}

// Whether the daemon had to make room yet.
bool HasEvicted(const std::string& socket) {
  auto admin = kvferry::AdminClient::Connect(socket, absl::Seconds(5));
  if (!admin.ok()) return false;
  const auto namespaces = (*admin)->Namespaces();
  return namespaces.ok() && !namespaces->empty() &&
         namespaces->front().evicted_blocks > 0;
}

// With every client gone, every block is free or ready within a second.
bool NothingLeaks(const std::string& socket) {
  auto admin = kvferry::AdminClient::Connect(socket, absl::Seconds(5));
  if (!admin.ok()) return false;
  const absl::Time deadline = absl::Now() + absl::Seconds(2);
  for (;;) {
    auto namespaces = (*admin)->Namespaces();
    if (!namespaces.ok() || namespaces->size() != 1) return false;
    const kvferry::NamespaceStatus& status = (*namespaces)[0];
    const kvferry::GroupStatus& group = status.groups[0];
    if (status.sessions == 0 && group.granted == 0 && group.publishing == 0 &&
        group.quarantined == 0 && group.free + group.ready == group.present) {
      fmt::print("{} blocks, {} free, {} ready, {} evicted, {} aborted\n",
                 group.present, group.free, group.ready, status.evicted_blocks,
                 status.aborted_blocks);
      return status.evicted_blocks > 0;
    }
    if (absl::Now() > deadline) {
      fmt::print(stderr,
                 "{} sessions, {} granted, {} publishing, {} quarantined "
                 "blocks are left\n",
                 status.sessions, group.granted, group.publishing,
                 group.quarantined);
      return false;
    }
    timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

}  // namespace

int main(int argc, char** argv) {
  uint64_t hits = 2'000'000;
  uint64_t seed = 1;
  uint32_t readers = 3;
  uint32_t publishers = 2;
  bool keep_clients = false;
  CLI::App app("Readers, publishers and an evicting daemon");
  app.add_option("--hits", hits, "block hits to verify");
  app.add_option("--seed", seed, "of everything random");
  app.add_option("--readers", readers, "reading processes");
  app.add_option("--publishers", publishers, "publishing processes");
  app.add_flag("--keep-clients", keep_clients, "kill nobody");
  CLI11_PARSE(app, argc, argv);
  if (const char* scale = std::getenv("KVFERRY_STRESS_SCALE")) {
    hits = static_cast<uint64_t>(static_cast<double>(hits) * std::atof(scale));
    fmt::print("scaled by {}: {} hits\n", scale, hits);
  }

  auto* shared = new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared{};
  kvferry::test::DaemonProcess::Options options;
  // The chains need 50 x 24 shared and 400 x 24 own blocks of 8 KiB: 84 MiB.
  // Half of that, so that publishing always evicts.
  options.pool_size = "48MiB";
  auto daemon = kvferry::test::DaemonProcess::Start(options);
  if (!daemon.ok()) {
    fmt::print(stderr, "{}\n", std::string(daemon.status().message()));
    return 1;
  }

  std::mt19937_64 random(seed);
  std::vector<pid_t> clients;
  for (uint32_t i = 0; i < readers + publishers; ++i) {
    clients.push_back(
        Spawn(i < readers, (*daemon)->socket_path(), random(), shared));
  }
  uint32_t killed = 0;
  uint64_t last_hits = 0;
  uint32_t stalled_rounds = 0;
  // Readers may have their hits before the pool was full once: few rounds on a
  // machine where publishers are slow.
  while (
      (shared->hits.load() < hits || !HasEvicted((*daemon)->socket_path())) &&
      shared->failures.load() == 0 && shared->mismatches.load() == 0) {
    timespec pause{0, 50'000'000};
    ::nanosleep(&pause, nullptr);
    // Progress is watched, not timed: only a run that does nothing fails.
    stalled_rounds = shared->hits.load() == last_hits ? stalled_rounds + 1 : 0;
    last_hits = shared->hits.load();
    if (stalled_rounds > 600) {
      fmt::print(stderr, "no hit for 30 s\n");
      shared->failures.fetch_add(1);
    }
    if (keep_clients || random() % 4 != 0) continue;
    const size_t which = random() % clients.size();
    ::kill(clients[which], SIGKILL);
    int status = 0;
    ::waitpid(clients[which], &status, 0);
    ++killed;
    clients[which] =
        Spawn(which < readers, (*daemon)->socket_path(), random(), shared);
  }
  shared->stop.store(1);
  bool clients_ok = true;
  for (const pid_t client : clients) {
    int status = 0;
    ::waitpid(client, &status, 0);
    clients_ok = clients_ok && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  const bool clean = NothingLeaks((*daemon)->socket_path());
  const int code = (*daemon)->Stop();
  fmt::print(
      "{} block hits verified, {} wrong, {} blocks published, {} clients "
      "killed, seed {}\n",
      shared->hits.load(), shared->mismatches.load(), shared->published.load(),
      killed, seed);
  const bool passed =
      shared->hits.load() >= hits && shared->mismatches.load() == 0 &&
      shared->failures.load() == 0 && clients_ok && clean && code == 0;
  if (!passed) {
    fmt::print(stderr, "failed (daemon exit code {})\n{}\n", code,
               (*daemon)->log());
  }
  return passed ? 0 : 1;
}
