#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/control/requests.h"
#include "protocol/limits.h"
#include "protocol/spec.h"

// What operators see of the node: its status, namespaces, sessions.
namespace kvferry::control {
namespace {

// A list is cut where the receiver's verifier would refuse it: some tables are
// for the message itself.
constexpr size_t kTablesMax = protocol::kFlatbufferTablesMax - 16;
constexpr size_t kSessionsPerMessageMax = 128;
// A session's two names and numbers.
static_assert(kSessionsPerMessageMax *
                  (protocol::kNamespaceNameBytesMax + 64 + 160) <
              protocol::kMessageBytesMax);

std::string MemoryNote(const Node& node, const MemoryReport& report) {
  std::string note = absl::StrJoin(report.notes, "; ");
  if (node.config().lock == config::Toggle::kOff) {
    absl::StrAppend(&note, note.empty() ? "" : "; ",
                    "not locked: switched off");
  }
  if (node.config().huge_pages == config::Toggle::kOff) {
    absl::StrAppend(&note, note.empty() ? "" : "; ",
                    "no 2 MiB pages: switched off");
  }
  return note;
}

wire::GroupCountsT DescribeGroup(const NamespaceHost& host, uint32_t group) {
  const core::GroupCounts counts = host.core().counts(group);
  const protocol::GroupRecord& record = host.geometry().groups[group];
  wire::GroupCountsT result;
  result.name = host.entry().spec.groups[group].name;
  result.blocks = record.block_count;
  result.present = counts.capacity - counts.absent;
  result.free = counts.free;
  result.granted = counts.granted;
  result.publishing = counts.publishing;
  result.ready = counts.ready;
  result.quarantined = counts.quarantined;
  result.stride_bytes = record.stride_bytes;
  result.in_io = counts.in_io;
  result.resting = counts.resting;
  return result;
}

wire::NamespaceStatusT DescribeNamespace(const NamespaceHost& host) {
  const core::Catalog::Entry& entry = host.entry();
  const core::NamespaceCounters counters = host.core().counters();
  wire::NamespaceStatusT result;
  result.id = entry.id;
  result.spec =
      std::make_unique<wire::NamespaceSpecT>(protocol::ToWire(entry.spec));
  result.fingerprint.resize(entry.fingerprint.size());
  std::memcpy(result.fingerprint.data(), entry.fingerprint.data(),
              entry.fingerprint.size());
  result.quota_bytes = entry.quota_bytes;
  result.populated_bytes = host.populated_bytes();
  result.content_epoch = host.core().content_epoch();
  result.sessions = static_cast<uint32_t>(host.sessions().size());
  for (uint32_t g = 0; g < host.geometry().groups.size(); ++g) {
    result.groups.push_back(
        std::make_unique<wire::GroupCountsT>(DescribeGroup(host, g)));
  }
  result.lookups = counters.lookups;
  result.hit_blocks = counters.hit_blocks;
  result.missed_lookups = counters.missed_lookups;
  result.published_blocks = counters.published_blocks;
  result.evicted_blocks = counters.evicted_blocks;
  result.aborted_blocks = counters.aborted_blocks;
  result.no_space = counters.no_space;
  result.standby_blocks = counters.standby_blocks;
  result.adopted_blocks = counters.adopted_blocks;
  result.stalled_publications = counters.stalled_publications;
  result.open_publications = host.core().publication_count();
  result.leases = host.core().lease_count();
  result.overhead_bytes_per_block = host.core().overhead_bytes_per_block();
  return result;
}

wire::SessionStatusT DescribeSession(const ClientSession& session,
                                     uint64_t now_ms) {
  const core::NamespaceCore::SessionCounts counts =
      session.host->core().session_counts(session.number);
  wire::SessionStatusT result;
  result.session = session.number;
  result.namespace_name = session.host->entry().spec.name;
  result.client_name = session.client_name;
  result.pid = static_cast<uint32_t>(session.pid);
  result.uid = session.uid;
  result.access =
      session.may_publish ? wire::Access::Publish : wire::Access::Read;
  result.granted = counts.granted;
  result.publications = counts.publications;
  result.pinned_blocks = counts.pinned_blocks;
  result.matches = counts.matches;
  result.hit_blocks = counts.hit_blocks;
  result.age_ms = now_ms - session.attached_ms;
  if (session.gpu.has_value()) result.gpu = static_cast<int32_t>(*session.gpu);
  return result;
}

}  // namespace

void HandleGetStatus(const Request& request) {
  Node& node = request.node;
  const MemoryReport& report = node.memory_report();
  const NodeCounters& counters = node.counters();
  wire::StatusT status;
  status.version = node.identity().version;
  status.pid = static_cast<uint32_t>(::getpid());
  status.epoch = node.identity().epoch;
  status.uptime_ms = request.now_ms;
  status.socket = node.config().socket;
  status.directory = node.config().directory;
  status.pool_bytes = node.config().pool_size_bytes;
  status.used_bytes = node.populated_bytes();
  // Of what there is: nothing is not locked.
  status.memory_locked =
      report.segments > 0 && report.locked_segments == report.segments;
  status.memory_note = MemoryNote(node, report);
  status.huge_pages =
      report.segments > 0 && report.huge_segments == report.segments;
  status.read_only_note = node.view().note();
  status.namespace_count = static_cast<uint32_t>(node.hosts().size());
  status.session_count = static_cast<uint32_t>(node.sessions().size());
  status.loop_iterations = counters.loop_iterations;
  status.loop_max_us = counters.loop_max_us;
  status.doorbells = counters.doorbells;
  status.sessions_refused = counters.sessions_refused;
  status.sessions_closed_for_cause = counters.sessions_closed_for_cause;
  request.connection.Reply(request.id, std::move(status));
}

void HandleGetNamespaces(const Request& request,
                         const wire::GetNamespacesT& get) {
  wire::NamespacesT reply;
  size_t tables = 0;
  size_t bytes = 0;
  size_t position = 0;
  for (const auto& [id, host] : request.node.hosts()) {
    if (position++ < get.first) continue;
    // Itself, its specification, and two tables a group.
    const size_t groups = host->geometry().groups.size();
    tables += 2 + 2 * groups;
    bytes += 256 + 4 * protocol::kSpecStringBytesMax + 256 * groups;
    // One always fits, whatever its size.
    if (!reply.namespaces.empty() &&
        (tables > kTablesMax || bytes > protocol::kMessageBytesMax)) {
      reply.more = true;
      break;
    }
    reply.namespaces.push_back(
        std::make_unique<wire::NamespaceStatusT>(DescribeNamespace(*host)));
  }
  request.connection.Reply(request.id, std::move(reply));
}

void HandleGetSessions(const Request& request, const wire::GetSessionsT& get) {
  wire::SessionsT reply;
  const auto& sessions = request.node.sessions();
  auto it = sessions.begin();
  std::advance(it, std::min<size_t>(get.first, sessions.size()));
  while (it != sessions.end() &&
         reply.sessions.size() < kSessionsPerMessageMax) {
    reply.sessions.push_back(std::make_unique<wire::SessionStatusT>(
        DescribeSession(*it->second, request.now_ms)));
    ++it;
  }
  reply.more = it != sessions.end();
  request.connection.Reply(request.id, std::move(reply));
}

}  // namespace kvferry::control
