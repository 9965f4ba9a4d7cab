#include <spdlog/spdlog.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/control/requests.h"
#include "protocol/limits.h"
#include "protocol/spec.h"

// What operators do to namespaces and their blocks.
namespace kvferry::control {
namespace {

// One table each, beside the message's own.
constexpr uint32_t kBlocksPerMessageMax = protocol::kFlatbufferTablesMax - 16;
constexpr size_t kKeyDigits = 32;

absl::StatusOr<NamespaceHost*> FindNamespace(const Request& request,
                                             const std::string& name) {
  NamespaceHost* host = request.node.FindHost(absl::string_view(name));
  if (host == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("no namespace \"", PrintableName(name), "\""));
  }
  return host;
}

// Digits as the core compares them.
absl::StatusOr<std::string> KeyPrefix(const std::string& prefix) {
  const bool digits =
      std::all_of(prefix.begin(), prefix.end(),
                  [](unsigned char c) { return absl::ascii_isxdigit(c); });
  if (!digits || prefix.size() > kKeyDigits) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefix \"", PrintableName(prefix), "\": not at most ",
                     kKeyDigits, " hexadecimal digits"));
  }
  return absl::AsciiStrToLower(prefix);
}

wire::BlockStatusT DescribeBlock(const core::BlockDescription& block,
                                 const protocol::Geometry& geometry,
                                 uint64_t now_ms) {
  wire::BlockStatusT result;
  result.key = std::make_unique<wire::Key>(block.key.lo, block.key.hi);
  result.group = static_cast<uint8_t>(block.group);
  result.block = block.block;
  result.generation = block.generation;
  result.state = static_cast<uint8_t>(block.state);
  result.parent = std::make_unique<wire::Key>(block.parent.lo, block.parent.hi);
  result.children = block.children;
  result.pins = block.pins;
  const auto now = static_cast<uint32_t>(now_ms);
  result.last_use_ms_ago =
      now > block.last_use_ms ? now - block.last_use_ms : 0;
  const protocol::GroupRecord& group = geometry.groups[block.group];
  result.bytes = group.page_bytes * group.slice_count;
  result.gpu_pool = static_cast<uint8_t>(block.gpu_pool);
  result.gpu_block = block.gpu_block;
  result.gpu_state = static_cast<uint8_t>(block.gpu_state);
  result.gpu_pins = block.gpu_pins;
  return result;
}

absl::StatusOr<wire::BlocksT> Blocks(const Request& request,
                                     const wire::GetBlocksT& get) {
  KVFERRY_ASSIGN_OR_RETURN(NamespaceHost* const host,
                           FindNamespace(request, get.namespace_name));
  KVFERRY_ASSIGN_OR_RETURN(const std::string prefix, KeyPrefix(get.prefix));
  wire::BlocksT reply;
  bool more = false;
  const std::vector<core::BlockDescription> blocks = host->core().Describe(
      prefix, std::min(get.limit, kBlocksPerMessageMax), &more);
  for (const core::BlockDescription& block : blocks) {
    reply.blocks.push_back(std::make_unique<wire::BlockStatusT>(
        DescribeBlock(block, host->geometry(), request.now_ms)));
  }
  reply.more = more;
  return reply;
}

absl::StatusOr<wire::EvictedT> Evict(const Request& request,
                                     const wire::EvictT& evict) {
  KVFERRY_ASSIGN_OR_RETURN(NamespaceHost* const host,
                           FindNamespace(request, evict.namespace_name));
  KVFERRY_ASSIGN_OR_RETURN(const std::string prefix, KeyPrefix(evict.prefix));
  const core::EvictCounts counts =
      host->core().Evict(prefix, evict.limit, request.now_ms);
  request.node.Deliver(*host);
  spdlog::info("namespace \"{}\": {} blocks evicted by an operator, {} pinned",
               host->entry().spec.name, counts.evicted, counts.pinned);
  wire::EvictedT reply;
  reply.evicted = counts.evicted;
  reply.pinned = counts.pinned;
  return reply;
}

wire::ClearedT Clear(const Request& request, NamespaceHost& host,
                     absl::string_view by) {
  // What sessions had submitted by now is of before, too.
  for (ClientSession* session : host.sessions()) {
    request.node.PumpAll(session, request.now_ms);
  }
  wire::ClearedT reply;
  reply.blocks = host.core().Clear();
  reply.content_epoch = host.core().content_epoch();
  request.node.Deliver(host);
  spdlog::info("namespace \"{}\" cleared by {}: {} blocks, content epoch {}",
               host.entry().spec.name, std::string(by), reply.blocks,
               reply.content_epoch);
  return reply;
}

absl::StatusOr<wire::ClearedT> ClearNamed(const Request& request,
                                          const wire::ClearT& clear) {
  KVFERRY_ASSIGN_OR_RETURN(NamespaceHost* const host,
                           FindNamespace(request, clear.namespace_name));
  return Clear(request, *host, "an operator");
}

// Who publishes into a namespace decides what is found there anyway.
absl::StatusOr<wire::ClearedT> ClearOwn(const Request& request,
                                        const ClientSession& session) {
  if (!session.may_publish) {
    return absl::PermissionDeniedError(
        "clear: this session may read its namespace, not publish");
  }
  return Clear(
      request, *session.host,
      absl::StrCat("session ", session.number, " (", session.client_name, ")"));
}

absl::StatusOr<wire::DoneT> Create(const Request& request,
                                   const wire::CreateNamespaceT& create) {
  if (create.spec == nullptr) {
    return absl::InvalidArgumentError("namespace: no specification");
  }
  const NamespaceSpec spec = protocol::FromWire(*create.spec);
  KVFERRY_RETURN_IF_ERROR(protocol::ValidateSpec(spec));
  KVFERRY_ASSIGN_OR_RETURN(const uint64_t id, request.node.catalog().Create(
                                                  spec, create.quota_bytes));
  KVFERRY_RETURN_IF_ERROR(request.node.MakeHost(id, request.now_ms).status());
  return wire::DoneT();
}

template <typename Reply>
void Answer(const Request& request, absl::StatusOr<Reply> reply) {
  if (!reply.ok()) {
    return request.connection.ReplyError(request.id, reply.status());
  }
  request.connection.Reply(request.id, *std::move(reply));
}

}  // namespace

void HandleCreateNamespace(const Request& request,
                           const wire::CreateNamespaceT& create) {
  Answer(request, Create(request, create));
}

void HandleGetBlocks(const Request& request, const wire::GetBlocksT& get) {
  Answer(request, Blocks(request, get));
}

void HandleEvict(const Request& request, const wire::EvictT& evict) {
  Answer(request, Evict(request, evict));
}

void HandleClear(const Request& request, const wire::ClearT& clear) {
  Answer(request, ClearNamed(request, clear));
}

void HandleClearOwn(const Request& request, const ClientSession& session) {
  Answer(request, ClearOwn(request, session));
}

}  // namespace kvferry::control
