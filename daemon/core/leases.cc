// What tickets ask of a namespace.

#include <cstddef>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hex.h"
#include "daemon/core/namespace_core.h"
#include "protocol/limits.h"

namespace kvferry::core {

namespace {

using protocol::kNoBlock;

std::string KeyHex(const BlockKey& key) {
  std::byte bytes[16];
  std::memcpy(bytes, &key.lo, 8);
  std::memcpy(bytes + 8, &key.hi, 8);
  return HexEncode(bytes);
}

}  // namespace

absl::Status NamespaceCore::CheckLease(uint32_t group, uint32_t tail_tokens,
                                       size_t keys_before,
                                       size_t keys_more) const {
  if (group >= groups_.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "ticket: group ", group, ", the namespace has ", groups_.size()));
  }
  const uint32_t block_tokens = config_.geometry.groups[group].block_tokens;
  if (tail_tokens >= block_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: a tail of ", tail_tokens,
                     " tokens, the group's blocks have ", block_tokens));
  }
  if (keys_more == 0 || keys_before + keys_more > protocol::kKeysPerCallMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: ", keys_more, " keys after ", keys_before,
                     ", a ticket has 1 to ", protocol::kKeysPerCallMax));
  }
  const uint64_t capacity = config_.geometry.host_blocks;
  if (leases_.key_count() + keys_more > capacity ||
      leases_.held_blocks() + keys_more > (capacity + 1) / 2) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "ticket: ", keys_more, " blocks more; the namespace's tickets hold ",
        leases_.held_blocks(), ", the limit is ", (capacity + 1) / 2));
  }
  return absl::OkStatus();
}

absl::Status NamespaceCore::SortLeaseKeys(const Lease& lease,
                                          std::span<const BlockKey> keys,
                                          std::vector<uint32_t>* blocks,
                                          std::vector<BlockKey>* wanted) const {
  absl::flat_hash_set<BlockKey> seen(lease.keys.begin(), lease.keys.end());
  for (size_t i = 0; i < keys.size(); ++i) {
    const uint32_t slot = index_.Find(keys[i]);
    // The one in host memory, also while its bytes are on their way there.
    const uint32_t block = slot == kNoSlot ? kNoBlock : HostBlockAt(slot);
    const bool ready = block != kNoBlock && !PendingAt(slot);
    const bool elsewhere =
        block != kNoBlock && blocks_.group_of(block) != lease.group;
    if (elsewhere || (!ready && !lease.in_flight)) {
      return absl::NotFoundError(absl::StrCat(
          "ticket: block ", i, " (", KeyHex(keys[i]), ") is not there"));
    }
    if (!seen.insert(keys[i]).second) {
      return absl::InvalidArgumentError(absl::StrCat(
          "ticket: block ", i, " (", KeyHex(keys[i]), ") is named twice"));
    }
    if (ready) {
      blocks->push_back(block);
    } else {
      wanted->push_back(keys[i]);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> NamespaceCore::HoldLease(const LeaseRequest& request) {
  if (leases_.size() >= protocol::kTicketsPerNamespaceMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the namespace has ", leases_.size(), " tickets, the limit is ",
        protocol::kTicketsPerNamespaceMax));
  }
  absl::Status status =
      CheckLease(request.group, request.tail_tokens, 0, request.keys.size());
  if (!status.ok()) return status;
  if (request.hand_over.size() > protocol::kHandOverBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("ticket: hand-over data of ", request.hand_over.size(),
                     " bytes, the limit is ", protocol::kHandOverBytesMax));
  }
  Lease lease;
  lease.group = request.group;
  lease.consumers_left = request.consumers;
  lease.deadline_ms = request.deadline_ms;
  lease.session = request.session;
  lease.handle = request.handle;
  lease.in_flight = request.in_flight;
  lease.tail_tokens = request.tail_tokens;
  lease.hand_over = request.hand_over;
  if (request.handle != 0) {
    const auto session = sessions_.find(request.session);
    const Handle* handle = nullptr;
    if (session != sessions_.end()) {
      const auto found = session->second.handles.find(request.handle);
      if (found != session->second.handles.end()) handle = &found->second;
    }
    if (handle == nullptr) {
      return absl::NotFoundError(absl::StrCat("ticket: publication handle ",
                                              request.handle, " is not open"));
    }
    lease.publication = handle->publication->ref;
  }
  std::vector<BlockKey> wanted;
  status = SortLeaseKeys(lease, request.keys, &lease.blocks, &wanted);
  if (!status.ok()) return status;
  lease.keys.assign(request.keys.begin(), request.keys.end());
  lease.wanted.insert(wanted.begin(), wanted.end());
  return leases_.Add(std::move(lease));
}

absl::Status NamespaceCore::ExtendLease(uint64_t id, uint16_t session,
                                        std::span<const BlockKey> keys,
                                        uint32_t tail_tokens) {
  const Lease* lease = leases_.Find(id);
  if (lease == nullptr) {
    return absl::NotFoundError("ticket: expired or used up");
  }
  if (lease->session != session) {
    return absl::PermissionDeniedError(
        "ticket: minted by another session, which alone may extend it");
  }
  if (lease->tail_tokens != 0) {
    return absl::InvalidArgumentError(
        "ticket: it ends in a tail, after which nothing can follow");
  }
  absl::Status status =
      CheckLease(lease->group, tail_tokens, lease->keys.size(), keys.size());
  if (!status.ok()) return status;
  std::vector<uint32_t> blocks;
  std::vector<BlockKey> wanted;
  status = SortLeaseKeys(*lease, keys, &blocks, &wanted);
  if (!status.ok()) return status;
  leases_.Extend(id, keys, blocks, wanted, tail_tokens);
  return absl::OkStatus();
}

const Lease* NamespaceCore::FindLease(uint64_t lease) const {
  return leases_.Find(lease);
}

protocol::PublicationRef NamespaceCore::Follow(const Lease& lease) const {
  return directory_.IsOpen(lease.publication) ? lease.publication
                                              : protocol::PublicationRef{};
}

std::string NamespaceCore::HandOverOf(const Lease& lease) const {
  if (!lease.hand_over.empty() || !directory_.Has(lease.publication)) {
    return lease.hand_over;
  }
  const auto session = sessions_.find(lease.session);
  if (session == sessions_.end()) return {};
  const auto handle = session->second.handles.find(lease.handle);
  if (handle == session->second.handles.end() ||
      handle->second.publication->ref.generation !=
          lease.publication.generation ||
      handle->second.record == kNoRecord) {
    return {};
  }
  return session->second.progress.HandOver(handle->second.record,
                                           lease.publication.generation);
}

absl::Status NamespaceCore::ReleaseLease(uint64_t lease) {
  if (leases_.Release(lease)) return absl::OkStatus();
  return absl::NotFoundError("ticket: expired or used up");
}

}  // namespace kvferry::core
