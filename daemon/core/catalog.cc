#include "daemon/core/catalog.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/hex.h"
#include "protocol/geometry.h"
#include "protocol/limits.h"

namespace kvferry::core {

absl::StatusOr<Catalog::AttachDecision> Catalog::Attach(
    const AttachRequest& request) {
  const Entry* const there = FindByName(request.spec.name);
  if (request.accept_existing) {
    if (there != nullptr) return AttachDecision{there->id, false};
    return absl::NotFoundError(
        absl::StrCat("no namespace \"", request.spec.name, "\""));
  }
  if (absl::Status status = protocol::ValidateSpec(request.spec);
      !status.ok()) {
    return status;
  }
  if (there != nullptr) {
    const protocol::Fingerprint asked = protocol::FingerprintOf(request.spec);
    if (asked == there->fingerprint) return AttachDecision{there->id, false};
    return absl::FailedPreconditionError(absl::StrCat(
        "namespace \"", there->spec.name, "\" has fingerprint ",
        HexEncode(there->fingerprint), ", this session ", HexEncode(asked),
        ": ", protocol::DescribeDifference(request.spec, there->spec)));
  }
  if (!request.create) {
    return absl::NotFoundError(absl::StrCat(
        "no namespace \"", request.spec.name, "\", and create is false"));
  }
  if (!template_.allow_create) {
    return absl::PermissionDeniedError(
        absl::StrCat("no namespace \"", request.spec.name,
                     "\", and [template] allow_create is false"));
  }
  absl::StatusOr<uint64_t> id = Create(request.spec, template_.quota_bytes);
  if (!id.ok()) return std::move(id).status();
  return AttachDecision{*id, true};
}

absl::StatusOr<uint64_t> Catalog::Create(const NamespaceSpec& spec,
                                         uint64_t quota_bytes) {
  if (absl::Status status = protocol::ValidateSpec(spec); !status.ok()) {
    return status;
  }
  if (FindByName(spec.name) != nullptr) {
    return absl::AlreadyExistsError(
        absl::StrCat("namespace \"", spec.name, "\" exists"));
  }
  if (entries_.size() >= protocol::kNamespacesMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat("there are ", entries_.size(),
                     " namespaces, the limit is ", protocol::kNamespacesMax));
  }
  const uint64_t left = pool_bytes_ - reserved_bytes_;
  if (quota_bytes == 0) quota_bytes = left;
  if (left == 0 || quota_bytes > left) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "namespace \"", spec.name, "\": quota of ", quota_bytes,
        " bytes, of the pool's ", pool_bytes_, " bytes ", left, " are left"));
  }
  absl::StatusOr<protocol::Geometry> geometry =
      protocol::PlanGeometry(spec, quota_bytes);
  if (!geometry.ok()) return std::move(geometry).status();
  Entry entry;
  entry.id = next_id_++;
  entry.spec = spec;
  entry.fingerprint = protocol::FingerprintOf(spec);
  entry.salt = protocol::SaltOf(entry.fingerprint, spec.name);
  entry.quota_bytes = quota_bytes;
  reserved_bytes_ += quota_bytes;
  entries_.push_back(std::move(entry));
  return entries_.back().id;
}

void Catalog::Remove(uint64_t id) {
  std::erase_if(entries_, [this, id](const Entry& entry) {
    if (entry.id != id) return false;
    reserved_bytes_ -= entry.quota_bytes;
    return true;
  });
}

const Catalog::Entry* Catalog::Find(uint64_t id) const {
  for (const Entry& entry : entries_) {
    if (entry.id == id) return &entry;
  }
  return nullptr;
}

const Catalog::Entry* Catalog::FindByName(absl::string_view name) const {
  for (const Entry& entry : entries_) {
    if (name == entry.spec.name) return &entry;
  }
  return nullptr;
}

std::vector<const Catalog::Entry*> Catalog::entries() const {
  std::vector<const Entry*> all;
  for (const Entry& entry : entries_) all.push_back(&entry);
  return all;
}

}  // namespace kvferry::core
