#include "kvferry/admin.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/hex.h"
#include "base/status.h"
#include "protocol/shm_layout.h"
#include "protocol/spec.h"
#include "sdk/admin_gpu.h"
#include "sdk/connection.h"

namespace kvferry {

namespace wire = protocol::wire;

struct AdminClient::Impl {
  std::string socket_path;
  std::unique_ptr<sdk::Connection> connection;
  absl::Duration timeout;
  bool answered = false;  // anything, on this connection

  template <typename Answer, typename Body>
  absl::StatusOr<std::unique_ptr<Answer>> Ask(Body body) {
    const absl::Time deadline = absl::Now() + timeout;
    auto answer = connection->Ask<Answer>(body, deadline);
    if (absl::IsUnavailable(answer.status()) && !answered) {
      // The daemon cuts off who has asked nothing for a moment
      // (kHandshakeDeadlineMs). An operator may well have waited.
      KVFERRY_ASSIGN_OR_RETURN(connection,
                               sdk::Connection::Connect(socket_path, deadline));
      answer = connection->Ask<Answer>(std::move(body), deadline);
    }
    answered = answered || answer.ok();
    return answer;
  }
};

namespace {

std::string StateName(uint8_t state) {
  switch (static_cast<protocol::ResidenceState>(state)) {
    case protocol::ResidenceState::kFree:
      return "free";
    case protocol::ResidenceState::kPending:
      return "pending";
    case protocol::ResidenceState::kReady:
      return "ready";
    case protocol::ResidenceState::kRetiring:
      return "retiring";
  }
  return absl::StrCat("unknown (", state, ")");
}

BlockKey FromWire(const std::unique_ptr<wire::Key>& key) {
  return key == nullptr ? BlockKey{} : BlockKey{key->lo(), key->hi()};
}

GroupStatus FromWire(const wire::GroupCountsT& counts) {
  GroupStatus group;
  group.name = counts.name;
  group.blocks = counts.blocks;
  group.present = counts.present;
  group.free = counts.free;
  group.granted = counts.granted;
  group.publishing = counts.publishing;
  group.ready = counts.ready;
  group.quarantined = counts.quarantined;
  group.stride_bytes = counts.stride_bytes;
  group.in_io = counts.in_io;
  group.resting = counts.resting;
  return group;
}

NamespaceStatus FromWire(const wire::NamespaceStatusT& status) {
  NamespaceStatus result;
  result.id = status.id;
  if (status.spec != nullptr) result.spec = protocol::FromWire(*status.spec);
  result.fingerprint_hex =
      HexEncode({reinterpret_cast<const std::byte*>(status.fingerprint.data()),
                 status.fingerprint.size()});
  result.quota_bytes = status.quota_bytes;
  result.populated_bytes = status.populated_bytes;
  result.content_epoch = status.content_epoch;
  result.sessions = status.sessions;
  for (const auto& group : status.groups) {
    result.groups.push_back(FromWire(*group));
  }
  result.lookups = status.lookups;
  result.hit_blocks = status.hit_blocks;
  result.missed_lookups = status.missed_lookups;
  result.published_blocks = status.published_blocks;
  result.evicted_blocks = status.evicted_blocks;
  result.aborted_blocks = status.aborted_blocks;
  result.no_space = status.no_space;
  result.standby_blocks = status.standby_blocks;
  result.adopted_blocks = status.adopted_blocks;
  result.stalled_publications = status.stalled_publications;
  result.open_publications = status.open_publications;
  result.leases = status.leases;
  result.overhead_bytes_per_block = status.overhead_bytes_per_block;
  return result;
}

SessionInfo FromWire(const wire::SessionStatusT& status) {
  SessionInfo session;
  session.session = status.session;
  session.namespace_name = status.namespace_name;
  session.client_name = status.client_name;
  session.pid = status.pid;
  session.uid = status.uid;
  session.publish = status.access == wire::Access::Publish;
  session.granted = status.granted;
  session.publications = status.publications;
  session.pinned_blocks = status.pinned_blocks;
  session.matches = status.matches;
  session.hit_blocks = status.hit_blocks;
  session.age = absl::Milliseconds(status.age_ms);
  session.gpu = status.gpu;
  return session;
}

BlockInfo FromWire(const wire::BlockStatusT& status) {
  BlockInfo block;
  block.key = FromWire(status.key);
  block.group = status.group;
  block.block = status.block;
  block.generation = status.generation;
  block.state = StateName(status.state);
  block.parent = FromWire(status.parent);
  block.children = status.children;
  block.pins = status.pins;
  block.last_use_ago = absl::Milliseconds(status.last_use_ms_ago);
  block.bytes = status.bytes;
  if (status.gpu_pool != 0) {
    block.gpu_pool = status.gpu_pool;
    block.gpu_block = status.gpu_block;
    block.gpu_state = StateName(status.gpu_state);
    block.gpu_pins = status.gpu_pins;
  }
  return block;
}

}  // namespace

AdminClient::AdminClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminClient::~AdminClient() = default;

absl::StatusOr<std::unique_ptr<AdminClient>> AdminClient::Connect(
    absl::string_view socket_path, absl::Duration timeout) {
  auto impl = std::make_unique<Impl>();
  impl->socket_path = std::string(socket_path);
  impl->timeout = timeout;
  KVFERRY_ASSIGN_OR_RETURN(
      impl->connection,
      sdk::Connection::Connect(socket_path, absl::Now() + timeout));
  return std::unique_ptr<AdminClient>(new AdminClient(std::move(impl)));
}

absl::StatusOr<DaemonStatus> AdminClient::Status() {
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::StatusT> answer,
                           impl_->Ask<wire::StatusT>(wire::GetStatusT{}));
  DaemonStatus status;
  status.version = answer->version;
  status.pid = answer->pid;
  status.epoch = answer->epoch;
  status.uptime = absl::Milliseconds(answer->uptime_ms);
  status.socket = answer->socket;
  status.directory = answer->directory;
  status.pool_bytes = answer->pool_bytes;
  status.used_bytes = answer->used_bytes;
  status.memory_locked = answer->memory_locked;
  status.memory_note = answer->memory_note;
  status.huge_pages = answer->huge_pages;
  status.read_only_note = answer->read_only_note;
  status.namespace_count = answer->namespace_count;
  status.session_count = answer->session_count;
  status.loop_iterations = answer->loop_iterations;
  status.loop_max = absl::Microseconds(answer->loop_max_us);
  status.doorbells = answer->doorbells;
  status.sessions_refused = answer->sessions_refused;
  status.sessions_closed_for_cause = answer->sessions_closed_for_cause;
  return status;
}

absl::StatusOr<std::vector<NamespaceStatus>> AdminClient::Namespaces() {
  std::vector<NamespaceStatus> namespaces;
  for (;;) {
    wire::GetNamespacesT request;
    request.first = static_cast<uint32_t>(namespaces.size());
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::NamespacesT> answer,
                             impl_->Ask<wire::NamespacesT>(std::move(request)));
    for (const auto& status : answer->namespaces) {
      namespaces.push_back(FromWire(*status));
    }
    if (!answer->more || answer->namespaces.empty()) return namespaces;
  }
}

absl::Status AdminClient::CreateNamespace(const NamespaceSpec& spec,
                                          uint64_t quota_bytes) {
  KVFERRY_RETURN_IF_ERROR(protocol::ValidateSpec(spec));
  wire::CreateNamespaceT request;
  request.spec = std::make_unique<wire::NamespaceSpecT>(protocol::ToWire(spec));
  request.quota_bytes = quota_bytes;
  return impl_->Ask<wire::DoneT>(std::move(request)).status();
}

absl::StatusOr<std::vector<SessionInfo>> AdminClient::Sessions() {
  std::vector<SessionInfo> sessions;
  for (;;) {
    wire::GetSessionsT request;
    request.first = static_cast<uint32_t>(sessions.size());
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::SessionsT> answer,
                             impl_->Ask<wire::SessionsT>(std::move(request)));
    for (const auto& status : answer->sessions) {
      sessions.push_back(FromWire(*status));
    }
    if (!answer->more || answer->sessions.empty()) return sessions;
  }
}

absl::StatusOr<std::vector<BlockInfo>> AdminClient::Blocks(
    absl::string_view namespace_name, absl::string_view prefix_hex,
    uint32_t limit) {
  wire::GetBlocksT request;
  request.namespace_name = std::string(namespace_name);
  request.prefix = std::string(prefix_hex);
  request.limit = limit;
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::BlocksT> answer,
                           impl_->Ask<wire::BlocksT>(std::move(request)));
  std::vector<BlockInfo> blocks;
  for (const auto& status : answer->blocks) {
    blocks.push_back(FromWire(*status));
  }
  return blocks;
}

absl::StatusOr<EvictResult> AdminClient::Evict(absl::string_view namespace_name,
                                               absl::string_view prefix_hex,
                                               uint32_t limit) {
  wire::EvictT request;
  request.namespace_name = std::string(namespace_name);
  request.prefix = std::string(prefix_hex);
  request.limit = limit;
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::EvictedT> answer,
                           impl_->Ask<wire::EvictedT>(std::move(request)));
  return EvictResult{answer->evicted, answer->pinned};
}

absl::StatusOr<ClearResult> AdminClient::Clear(
    absl::string_view namespace_name) {
  wire::ClearT request;
  request.namespace_name = std::string(namespace_name);
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::ClearedT> answer,
                           impl_->Ask<wire::ClearedT>(std::move(request)));
  return ClearResult{answer->content_epoch, answer->blocks};
}

absl::StatusOr<std::vector<GpuStatus>> AdminClient::Gpus() {
  std::vector<GpuStatus> gpus;
  for (;;) {
    wire::GetGpusT request;
    request.first = gpus.empty() ? 0 : gpus.back().device + 1;
    KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<wire::GpusT> answer,
                             impl_->Ask<wire::GpusT>(std::move(request)));
    for (const auto& status : answer->gpus) {
      gpus.push_back(sdk::GpuStatusFrom(*status));
    }
    if (!answer->more || answer->gpus.empty()) return gpus;
  }
}

}  // namespace kvferry
