// What an operator asks the daemon.

#include "kvferry/admin.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/kvferry_admin.h"
#include "kvferry/options.h"
#include "sdk/c_api/admin_list.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/sized_structs.h"
#include "sdk/c_api/spec_conversion.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

kvf_group_status ToC(const GroupStatus& from) {
  kvf_group_status group = {};
  group.name = from.name.c_str();
  group.stride_bytes = from.stride_bytes;
  group.blocks = from.blocks;
  group.present = from.present;
  group.free = from.free;
  group.granted = from.granted;
  group.publishing = from.publishing;
  group.ready = from.ready;
  group.quarantined = from.quarantined;
  group.in_io = from.in_io;
  group.resting = from.resting;
  return group;
}

}  // namespace

extern "C" {

kvf_status kvf_admin_connect(const char* socket_path, int64_t timeout_ns,
                             kvf_admin** admin) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(admin, "admin"));
    *admin = nullptr;
    const std::string path =
        socket_path == nullptr ? DefaultSocketPath() : std::string(socket_path);
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<AdminClient> client,
                             AdminClient::Connect(path, Timeout(timeout_ns)));
    *admin =
        new kvf_admin{.client = std::move(client), .status = {}, .guard = {}};
    return absl::OkStatus();
  });
}

void kvf_admin_close(kvf_admin* admin) { delete admin; }

kvf_status kvf_admin_status(kvf_admin* admin, kvf_daemon_status* status) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(admin, "admin"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(status));
    KVFERRY_ASSIGN_OR_RETURN(admin->status, admin->client->Status());
    const DaemonStatus& from = admin->status;
    kvf_daemon_status result = {};
    result.version = from.version.c_str();
    result.socket = from.socket.c_str();
    result.directory = from.directory.c_str();
    result.memory_note = from.memory_note.c_str();
    result.read_only_note = from.read_only_note.c_str();
    result.epoch = from.epoch;
    result.uptime_ns = absl::ToInt64Nanoseconds(from.uptime);
    result.pool_bytes = from.pool_bytes;
    result.used_bytes = from.used_bytes;
    result.loop_iterations = from.loop_iterations;
    result.loop_max_ns = absl::ToInt64Nanoseconds(from.loop_max);
    result.doorbells = from.doorbells;
    result.sessions_refused = from.sessions_refused;
    result.sessions_closed_for_cause = from.sessions_closed_for_cause;
    result.pid = from.pid;
    result.namespace_count = from.namespace_count;
    result.session_count = from.session_count;
    result.memory_locked = from.memory_locked ? 1 : 0;
    result.huge_pages = from.huge_pages ? 1 : 0;
    WriteSized(result, status);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_namespaces(kvf_admin* admin, kvf_admin_list** list) {
  return AnswerList(admin, list,
                    [](AdminClient& client) { return client.Namespaces(); });
}

kvf_status kvf_admin_sessions(kvf_admin* admin, kvf_admin_list** list) {
  return AnswerList(admin, list,
                    [](AdminClient& client) { return client.Sessions(); });
}

kvf_status kvf_admin_blocks(kvf_admin* admin, const char* namespace_name,
                            const char* prefix_hex, uint32_t limit,
                            kvf_admin_list** list) {
  return AnswerList(
      admin, list,
      [&](AdminClient& client) -> absl::StatusOr<std::vector<BlockInfo>> {
        KVFERRY_RETURN_IF_ERROR(NotNull(namespace_name, "namespace_name"));
        return client.Blocks(namespace_name, TextOrEmpty(prefix_hex), limit);
      });
}

size_t kvf_admin_list_count(const kvf_admin_list* list) {
  if (list == nullptr) return 0;
  return std::visit([](const auto& items) { return items.size(); },
                    list->items);
}

void kvf_admin_list_destroy(kvf_admin_list* list) { delete list; }

kvf_status kvf_admin_list_namespace(const kvf_admin_list* list, size_t index,
                                    kvf_namespace_status* status) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(const NamespaceStatus* const from,
                             Item<NamespaceStatus>(list, index, "namespaces"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(status));
    kvf_namespace_status result = {};
    result.name = from->spec.name.c_str();
    result.model = from->spec.model.c_str();
    result.revision = from->spec.revision.c_str();
    result.dtype = from->spec.dtype.c_str();
    result.fingerprint_hex = from->fingerprint_hex.c_str();
    result.id = from->id;
    result.quota_bytes = from->quota_bytes;
    result.populated_bytes = from->populated_bytes;
    result.content_epoch = from->content_epoch;
    result.lookups = from->lookups;
    result.hit_blocks = from->hit_blocks;
    result.missed_lookups = from->missed_lookups;
    result.published_blocks = from->published_blocks;
    result.evicted_blocks = from->evicted_blocks;
    result.aborted_blocks = from->aborted_blocks;
    result.no_space = from->no_space;
    result.standby_blocks = from->standby_blocks;
    result.adopted_blocks = from->adopted_blocks;
    result.stalled_publications = from->stalled_publications;
    result.sessions = from->sessions;
    result.open_publications = from->open_publications;
    result.leases = from->leases;
    result.overhead_bytes_per_block = from->overhead_bytes_per_block;
    result.group_count = static_cast<uint32_t>(from->spec.groups.size());
    WriteSized(result, status);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_list_group(const kvf_admin_list* list, size_t index,
                                uint32_t group, kvf_group_spec* spec,
                                kvf_group_status* status) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(const NamespaceStatus* const from,
                             Item<NamespaceStatus>(list, index, "namespaces"));
    const size_t groups =
        std::min(from->spec.groups.size(), from->groups.size());
    if (group >= groups) {
      return absl::OutOfRangeError(
          absl::StrCat("group ", group, ", the namespace has ", groups));
    }
    if (spec != nullptr) KVFERRY_RETURN_IF_ERROR(CheckResult(spec));
    if (status != nullptr) KVFERRY_RETURN_IF_ERROR(CheckResult(status));
    if (spec != nullptr) {
      WriteSized(c_api::ToC(from->spec.groups[group]), spec);
    }
    if (status != nullptr) WriteSized(::ToC(from->groups[group]), status);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_list_session(const kvf_admin_list* list, size_t index,
                                  kvf_session_info* info) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(const SessionInfo* const from,
                             Item<SessionInfo>(list, index, "sessions"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(info));
    kvf_session_info result = {};
    result.namespace_name = from->namespace_name.c_str();
    result.client_name = from->client_name.c_str();
    result.matches = from->matches;
    result.hit_blocks = from->hit_blocks;
    result.age_ns = absl::ToInt64Nanoseconds(from->age);
    result.session = from->session;
    result.pid = from->pid;
    result.uid = from->uid;
    result.publish = from->publish ? 1 : 0;
    result.granted = from->granted;
    result.publications = from->publications;
    result.pinned_blocks = from->pinned_blocks;
    result.has_gpu = from->gpu >= 0 ? 1 : 0;
    result.gpu = from->gpu >= 0 ? static_cast<uint32_t>(from->gpu) : 0;
    WriteSized(result, info);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_list_block(const kvf_admin_list* list, size_t index,
                                kvf_block_info* info) {
  return Answer([&]() -> absl::Status {
    KVFERRY_ASSIGN_OR_RETURN(const BlockInfo* const from,
                             Item<BlockInfo>(list, index, "blocks"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(info));
    kvf_block_info result = {};
    result.state = from->state.c_str();
    result.key = c_api::ToC(from->key);
    result.parent = c_api::ToC(from->parent);
    result.bytes = from->bytes;
    result.last_use_ago_ns = absl::ToInt64Nanoseconds(from->last_use_ago);
    result.group = from->group;
    result.block = from->block;
    result.generation = from->generation;
    result.children = from->children;
    result.pins = from->pins;
    if (from->gpu_pool != 0) {
      result.gpu_state = from->gpu_state.c_str();
      result.gpu_pool = from->gpu_pool;
      result.gpu_block = from->gpu_block;
      result.gpu_pins = from->gpu_pins;
    }
    WriteSized(result, info);
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_create_namespace(kvf_admin* admin,
                                      const kvf_namespace_spec* spec,
                                      uint64_t quota_bytes) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(admin, "admin"));
    KVFERRY_ASSIGN_OR_RETURN(const NamespaceSpec create, ToNamespaceSpec(spec));
    return admin->client->CreateNamespace(create, quota_bytes);
  });
}

kvf_status kvf_admin_evict(kvf_admin* admin, const char* namespace_name,
                           const char* prefix_hex, uint32_t limit,
                           uint32_t* evicted, uint32_t* pinned) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(admin, "admin"));
    KVFERRY_RETURN_IF_ERROR(NotNull(namespace_name, "namespace_name"));
    KVFERRY_ASSIGN_OR_RETURN(
        const EvictResult result,
        admin->client->Evict(namespace_name, TextOrEmpty(prefix_hex), limit));
    if (evicted != nullptr) *evicted = result.evicted;
    if (pinned != nullptr) *pinned = result.pinned;
    return absl::OkStatus();
  });
}

kvf_status kvf_admin_clear(kvf_admin* admin, const char* namespace_name,
                           uint64_t* content_epoch, uint32_t* blocks) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(admin, "admin"));
    KVFERRY_RETURN_IF_ERROR(NotNull(namespace_name, "namespace_name"));
    KVFERRY_ASSIGN_OR_RETURN(const ClearResult result,
                             admin->client->Clear(namespace_name));
    if (content_epoch != nullptr) *content_epoch = result.content_epoch;
    if (blocks != nullptr) *blocks = result.blocks;
    return absl::OkStatus();
  });
}

}  // extern "C"
