#include "daemon/control/node.h"

#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/futex_wake.h"
#include "base/status.h"
#include "protocol/limits.h"

namespace kvferry::control {
namespace {

// Of one session in one turn, so that a busy one does not starve the others.
constexpr uint32_t kRunsPerTurnMax = 256;

static_assert(protocol::kNamespacesMax * protocol::kSessionsPerNamespaceMax <
                  protocol::kNoOwner,
              "session numbers are unique on the node");

core::GpuPolicy GpuPolicyOf(const config::Config& config) {
  core::GpuPolicy policy;
  policy.high_watermark = config.gpu_high_percent / 100.0;
  policy.low_watermark = config.gpu_low_percent / 100.0;
  policy.promotion_bytes_per_second = config.gpu_promotion_bytes_per_second;
  return policy;
}

}  // namespace

Node::Node(const config::Config& config, const NodeIdentity& identity,
           const memory::ReadOnlyView& view, memory::SegmentMakerProxy& maker,
           Poller& poller)
    : config_(config),
      identity_(identity),
      view_(view),
      maker_(maker),
      poller_(poller),
      catalog_(config.pool_size_bytes,
               {config.allow_create, config.namespace_quota_bytes}),
      gpus_(config, poller, [this](NamespaceHost& host) { Deliver(host); }) {}

Node::~Node() {
  for (const auto& [number, session] : sessions_) {
    poller_.Remove(session->pidfd.get());
    poller_.Remove(session->doorbell.get());
  }
}

absl::StatusOr<NamespaceHost*> Node::MakeHost(uint64_t namespace_id,
                                              uint64_t now_ms) {
  const core::Catalog::Entry entry = *catalog_.Find(namespace_id);
  absl::StatusOr<std::unique_ptr<NamespaceHost>> host = NamespaceHost::Make(
      entry, identity_.epoch, config_.segment_size_bytes,
      gpus_.QuotasForNamespace(), GpuPolicyOf(config_), view_);
  if (!host.ok()) {
    catalog_.Remove(namespace_id);
    return WithContext(host.status(),
                       absl::StrCat("namespace \"", entry.spec.name, "\""));
  }
  gpus_.AddHost(host->get(), now_ms);
  (*host)->OrderSegments(&maker_);
  spdlog::info("namespace \"{}\" made: {} blocks, quota {} bytes",
               entry.spec.name, (*host)->geometry().block_capacity,
               entry.quota_bytes);
  return (hosts_[namespace_id] = *std::move(host)).get();
}

NamespaceHost* Node::FindHost(uint64_t namespace_id) {
  const auto found = hosts_.find(namespace_id);
  return found == hosts_.end() ? nullptr : found->second.get();
}

NamespaceHost* Node::FindHost(absl::string_view name) {
  const core::Catalog::Entry* entry = catalog_.FindByName(name);
  return entry == nullptr ? nullptr : FindHost(entry->id);
}

uint64_t Node::populated_bytes() const {
  uint64_t bytes = 0;
  for (const auto& [id, host] : hosts_) bytes += host->populated_bytes();
  return bytes;
}

uint16_t Node::FreeSessionNumber() {
  // Goes round, so that a number in a log means one session for long.
  do {
    last_session_number_ =
        static_cast<uint16_t>((last_session_number_ + 1) % protocol::kNoOwner);
  } while (sessions_.contains(last_session_number_));
  return last_session_number_;
}

absl::StatusOr<ClientSession*> Node::AddSession(NamespaceHost* host,
                                                Connection* connection,
                                                absl::string_view client_name,
                                                bool may_publish,
                                                uint64_t now_ms) {
  // Before any memory is taken; the core counts as well.
  if (host->sessions().size() >= protocol::kSessionsPerNamespaceMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the namespace has ", host->sessions().size(),
        " sessions, the limit is ", protocol::kSessionsPerNamespaceMax));
  }
  const uint16_t number = FreeSessionNumber();
  KVFERRY_ASSIGN_OR_RETURN(
      memory::SessionFiles files,
      memory::SessionFiles::Make(view_, number, identity_.epoch,
                                 host->geometry().block_capacity));
  auto session = std::make_unique<ClientSession>(number, std::move(files));
  session->doorbell.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!session->doorbell.valid()) return ErrnoStatus(errno, "eventfd");
  session->host = host;
  session->connection = connection;
  session->client_name = std::string(client_name);
  session->may_publish = may_publish;
  session->pid = connection->peer().pid;
  session->uid = connection->peer().uid;
  session->attached_ms = now_ms;

  KVFERRY_RETURN_IF_ERROR(poller_.Add(session->doorbell.get(),
                                      {SourceKind::kDoorbell, number},
                                      EPOLLIN | EPOLLET));
  absl::Status added = poller_.Add(connection->peer().pidfd.get(),
                                   {SourceKind::kProcess, number});
  if (added.ok()) {
    session->pidfd = std::move(connection->peer().pidfd);
    const core::SessionMemory shared{
        session->files.client_header(), session->files.touches(),
        session->files.pins(), session->files.progress().header()};
    added = host->core().AddSession(number, may_publish, shared,
                                    &session->rings, now_ms);
    if (!added.ok()) {
      poller_.Remove(session->pidfd.get());
      connection->peer().pidfd = std::move(session->pidfd);
    }
  }
  if (!added.ok()) {
    poller_.Remove(session->doorbell.get());
    return added;
  }
  connection->set_session(number);
  host->sessions().push_back(session.get());
  ClientSession* const result = (sessions_[number] = std::move(session)).get();
  Deliver(*host);  // the core has ticked
  return result;
}

ClientSession* Node::FindSession(uint64_t number) {
  const auto found = sessions_.find(static_cast<uint16_t>(number));
  return found == sessions_.end() ? nullptr : found->second.get();
}

void Node::RemoveSession(uint16_t number, absl::string_view why,
                         uint64_t now_ms) {
  const auto found = sessions_.find(number);
  if (found == sessions_.end()) return;
  ClientSession& session = *found->second;
  spdlog::info("{} ends: {}", session.ToString(), std::string(why));
  // What it submitted before its end counts; commits above all.
  if (session.phase != ClientSession::Phase::kRevoked) {
    (void)session.rings.Pump(session.host->core(), now_ms,
                             protocol::kRingRecords);
  }
  NamespaceHost& host = *session.host;
  const core::NamespaceCounters before = host.core().counters();
  host.core().RemoveSession(number, now_ms);
  const core::NamespaceCounters after = host.core().counters();
  if (after.aborted_blocks != before.aborted_blocks) {
    spdlog::warn("{} left {} blocks unfinished, {} became ready",
                 session.ToString(),
                 after.aborted_blocks - before.aborted_blocks,
                 after.published_blocks - before.published_blocks);
  }
  std::vector<ClientSession*>& sessions = host.sessions();
  sessions.erase(std::find(sessions.begin(), sessions.end(), &session));
  poller_.Remove(session.pidfd.get());
  poller_.Remove(session.doorbell.get());
  if (session.connection != nullptr) {
    session.connection->set_session(std::nullopt);
    session.connection->Close(Connection::End::kOrderly, why);
  }
  sessions_.erase(found);
  Deliver(host);
}

void Node::RevokeSession(ClientSession* session, absl::string_view why) {
  if (session->phase == ClientSession::Phase::kRevoked) return;
  session->phase = ClientSession::Phase::kRevoked;
  session->rings.Revoke();
  session->host->core().RevokeSession(session->number);
  Deliver(*session->host);
  if (session->connection != nullptr) {
    session->connection->Close(Connection::End::kForCause, why);
    return;  // whose end is counted and logged
  }
  ++counters_.sessions_closed_for_cause;
  spdlog::warn("{} closed: {}", session->ToString(), std::string(why));
}

void Node::SetAdrift(ClientSession* session) {
  session->connection = nullptr;
  if (session->phase == ClientSession::Phase::kServed) {
    session->phase = ClientSession::Phase::kAdrift;
  }
}

size_t Node::PumpRings(uint64_t now_ms) {
  size_t runs = 0;
  for (const auto& [id, host] : hosts_) runs += PumpHost(*host, now_ms);
  return runs;
}

size_t Node::PumpHost(NamespaceHost& host, uint64_t now_ms) {
  size_t runs = 0;
  for (ClientSession* session : host.sessions()) {
    if (session->phase == ClientSession::Phase::kRevoked ||
        !session->rings.Ready()) {
      continue;
    }
    runs += PumpSession(session, now_ms, kRunsPerTurnMax);
  }
  if (runs > 0) Deliver(host);
  return runs;
}

uint32_t Node::PumpSession(ClientSession* session, uint64_t now_ms,
                           uint32_t runs_max) {
  const absl::StatusOr<uint32_t> runs =
      session->rings.Pump(session->host->core(), now_ms, runs_max);
  if (!runs.ok()) {
    RevokeSession(session, runs.status().message());
    return 0;
  }
  if (!session->rings.starved()) {
    session->starved_since_ms = 0;
  } else if (session->starved_since_ms == 0) {
    session->starved_since_ms = now_ms;
  }
  return *runs;
}

void Node::PumpAll(ClientSession* session, uint64_t now_ms) {
  if (session->phase == ClientSession::Phase::kRevoked) return;
  if (PumpSession(session, now_ms, protocol::kRingRecords) > 0) {
    Deliver(*session->host);
  }
}

void Node::Deliver(NamespaceHost& host) {
  // One session's commit may be another's reply or grant.
  for (ClientSession* session : host.sessions()) session->rings.Flush();
  for (const std::atomic<uint32_t>* word : host.core().TakeWakes()) {
    FutexWakeAll(word);
  }
  for (const uint16_t number : host.core().TakePokes()) {
    ClientSession* session = FindSession(number);
    if (session != nullptr && session->connection != nullptr) {
      session->connection->Reply(0, protocol::wire::PokeT());
    }
  }
  for (const core::StallReport& stall : host.core().TakeStalls()) {
    const ClientSession* session = FindSession(stall.session);
    spdlog::warn("{} stands still: {} publications given up, {} blocks of them",
                 session != nullptr ? session->ToString()
                                    : absl::StrCat("session ", stall.session),
                 stall.publications, stall.blocks);
  }
}

bool Node::RingsReady() const {
  for (const auto& [id, host] : hosts_) {
    for (const ClientSession* session : host->sessions()) {
      if (session->phase != ClientSession::Phase::kRevoked &&
          session->rings.Ready()) {
        return true;
      }
    }
  }
  return false;
}

size_t Node::TakeSegments(uint64_t now_ms) {
  std::vector<memory::SegmentResult> results = maker_.TakeResults();
  for (memory::SegmentResult& result : results) {
    NamespaceHost* host = FindHost(result.job.namespace_id);
    if (host == nullptr) continue;
    if (!result.segment.ok()) {
      const std::string message(result.segment.status().message());
      spdlog::error("namespace \"{}\", segment {}: {}", host->entry().spec.name,
                    result.job.plan.segment, message);
      memory_report_.notes.insert(message);
      continue;
    }
    memory::Segment& segment = **result.segment;
    ++memory_report_.segments;
    memory_report_.huge_segments += segment.huge();
    memory_report_.locked_segments += segment.locked();
    if (!segment.note().empty()) memory_report_.notes.insert(segment.note());
    spdlog::debug("namespace \"{}\", segment {}: {} bytes{}{}",
                  host->entry().spec.name, segment.plan().segment,
                  segment.bytes(), segment.huge() ? ", huge pages" : "",
                  segment.locked() ? ", locked" : "");
    host->AddSegment(*std::move(result.segment));
    gpus_.AddSegment(*host, *host->segments().back(), now_ms);
    Deliver(*host);
  }
  for (const auto& [id, host] : hosts_) host->OrderSegments(&maker_);
  return results.size();
}

void Node::Tick(uint64_t now_ms) {
  for (const auto& [id, host] : hosts_) {
    for (ClientSession* session : host->sessions()) {
      if (session->phase == ClientSession::Phase::kRevoked) continue;
      const absl::Status room = session->rings.RefreshRoom();
      if (!room.ok()) RevokeSession(session, room.message());
    }
    host->core().Tick(now_ms);
    Deliver(*host);
  }
  gpus_.Tick(now_ms);
  std::vector<uint16_t> gone;
  for (const auto& [number, session] : sessions_) {
    if (session->connection == nullptr && !session->files.client_holds_lock()) {
      gone.push_back(number);
    }
  }
  for (const uint16_t number : gone) {
    RemoveSession(number, "its socket is closed and it holds no lock", now_ms);
  }
}

void Node::SetAsleep(bool asleep) {
  for (const auto& [id, host] : hosts_) host->SetAsleep(asleep);
  gpus_.SetAsleep(asleep);
}

uint64_t Node::SleepLimitMs(uint64_t now_ms) const {
  // A client that makes room in its reply ring does not ring for it: look
  // again soon, and ever less often at one that does not read.
  uint64_t limit_ms = gpus_.SleepLimitMs(now_ms);
  for (const auto& [number, session] : sessions_) {
    if (session->starved_since_ms == 0) continue;
    limit_ms = std::min(limit_ms, 1 + (now_ms - session->starved_since_ms) / 8);
  }
  return limit_ms;
}

}  // namespace kvferry::control
