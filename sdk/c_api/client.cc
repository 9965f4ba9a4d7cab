// Attaching to the daemon, and what a client says of itself.

#include "kvferry/client.h"

#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "kvferry/kvferry.h"
#include "kvferry/options.h"
#include "sdk/c_api/arguments.h"
#include "sdk/c_api/error.h"
#include "sdk/c_api/handles.h"
#include "sdk/c_api/sized_structs.h"
#include "sdk/c_api/spec_conversion.h"

using namespace kvferry;         // NOLINT(build/namespaces): what follows is C
using namespace kvferry::c_api;  // NOLINT(build/namespaces)

namespace {

constexpr uint64_t kAttachFlags = KVF_ATTACH_ACCEPT_EXISTING |
                                  KVF_ATTACH_NO_CREATE | KVF_ATTACH_READ_ONLY |
                                  KVF_ATTACH_NO_WAIT | KVF_ATTACH_NO_REATTACH;

static_assert(KVF_RESIDENCES_HOST == static_cast<int>(ResidenceUse::kHost));
static_assert(KVF_RESIDENCES_ANY == static_cast<int>(ResidenceUse::kAny));

absl::StatusOr<AttachOptions> ToAttachOptions(
    const kvf_attach_options* options) {
  kvf_attach_options read = {};
  KVFERRY_RETURN_IF_ERROR(ReadSized(options, &read));
  KVFERRY_RETURN_IF_ERROR(
      CheckFlags(read.flags, kAttachFlags, "kvf_attach_options.flags"));
  KVFERRY_RETURN_IF_ERROR(CheckEnumerator(read.residences, KVF_RESIDENCES_ANY,
                                          "kvf_attach_options.residences"));
  KVFERRY_RETURN_IF_ERROR(
      CheckReserved(read.reserved, "kvf_attach_options.reserved"));
  const auto has = [&read](uint64_t flag) { return (read.flags & flag) != 0; };
  AttachOptions result;
  result.accept_existing = has(KVF_ATTACH_ACCEPT_EXISTING);
  KVFERRY_ASSIGN_OR_RETURN(result.spec, result.accept_existing
                                            ? ToNamedSpec(read.spec)
                                            : ToNamespaceSpec(read.spec));
  result.socket_path = std::string(TextOrEmpty(read.socket_path));
  result.client_name = std::string(TextOrEmpty(read.client_name));
  result.create = !has(KVF_ATTACH_NO_CREATE);
  result.publish = !has(KVF_ATTACH_READ_ONLY);
  result.wait_for_memory = !has(KVF_ATTACH_NO_WAIT);
  result.reattach = !has(KVF_ATTACH_NO_REATTACH);
  result.residences = static_cast<ResidenceUse>(read.residences);
  if (read.timeout_ns != 0) result.timeout = Timeout(read.timeout_ns);
  if (read.spin_ns != 0) {
    result.spin = read.spin_ns < 0 ? absl::ZeroDuration()
                                   : absl::Nanoseconds(read.spin_ns);
  }
  return result;
}

}  // namespace

extern "C" {

const char* kvf_default_socket_path(void) {
  thread_local std::string path;
  return AnswerOr("", [] {
    path = DefaultSocketPath();
    return path.c_str();
  });
}

kvf_status kvf_client_attach(const kvf_attach_options* options,
                             kvf_client** client) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(NotNull(client, "client"));
    *client = nullptr;
    KVFERRY_ASSIGN_OR_RETURN(const AttachOptions attach,
                             ToAttachOptions(options));
    KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Client> attached,
                             Client::Attach(attach));
    NamespaceSpec spec = attached->info().spec;
    *client = new kvf_client{
        std::make_shared<SharedClient>(std::move(attached), std::move(spec))};
    return absl::OkStatus();
  });
}

void kvf_client_close(kvf_client* client) { delete client; }

int kvf_client_connected(const kvf_client* client) {
  return IsUsable(client) && client->shared->client->connected() ? 1 : 0;
}

kvf_status kvf_client_info(const kvf_client* client, kvf_namespace_info* info) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(info));
    const NamespaceInfo now = client->shared->client->info();
    const NamespaceSpec& spec = client->shared->spec;
    kvf_namespace_info result = {};
    result.name = spec.name.c_str();
    result.model = spec.model.c_str();
    result.revision = spec.revision.c_str();
    result.dtype = spec.dtype.c_str();
    static_assert(sizeof(result.salt) == sizeof(now.salt));
    std::memcpy(result.salt, now.salt.data(), sizeof(result.salt));
    result.epoch = now.epoch;
    result.namespace_id = now.namespace_id;
    result.quota_bytes = now.quota_bytes;
    result.session = now.session;
    result.block_capacity = now.block_capacity;
    result.group_count = static_cast<uint32_t>(spec.groups.size());
    result.connected = client->shared->client->connected() ? 1 : 0;
    WriteSized(result, info);
    return absl::OkStatus();
  });
}

kvf_status kvf_client_group(const kvf_client* client, uint32_t group,
                            kvf_group_spec* spec) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_RETURN_IF_ERROR(CheckResult(spec));
    KVFERRY_RETURN_IF_ERROR(CheckGroup(*client->shared, group));
    WriteSized(ToC(client->shared->spec.groups[group]), spec);
    return absl::OkStatus();
  });
}

kvf_status kvf_client_clear(kvf_client* client, int64_t timeout_ns,
                            uint64_t* content_epoch) {
  return Answer([&]() -> absl::Status {
    KVFERRY_RETURN_IF_ERROR(Usable(client, "client"));
    KVFERRY_ASSIGN_OR_RETURN(
        const uint64_t epoch,
        client->shared->client->Clear(Deadline(timeout_ns)));
    if (content_epoch != nullptr) *content_epoch = epoch;
    return absl::OkStatus();
  });
}

}  // extern "C"
