#ifndef KVFERRY_DAEMON_CORE_CATALOG_H_
#define KVFERRY_DAEMON_CORE_CATALOG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kvferry/layout.h"
#include "protocol/spec.h"

namespace kvferry::core {

// What a namespace that an engine makes by attaching gets.
struct NamespaceTemplate {
  bool allow_create = true;
  uint64_t quota_bytes = 0;  // 0: what is left of the pool
};

// The namespaces of the node and the budget they share. Decides who may enter
// or make one; the memory itself is the caller's.
class Catalog {
 public:
  Catalog(uint64_t pool_bytes, const NamespaceTemplate& namespace_template)
      : pool_bytes_(pool_bytes), template_(namespace_template) {}

  struct Entry {
    uint64_t id = 0;  // index in entries(), stable
    NamespaceSpec spec;
    protocol::Fingerprint fingerprint{};
    NamespaceSalt salt{};
    uint64_t quota_bytes = 0;
  };

  struct AttachRequest {
    NamespaceSpec spec;  // name alone when accept_existing
    bool accept_existing = false;
    bool create = false;
  };
  struct AttachDecision {
    uint64_t id = 0;
    bool created = false;  // the caller makes its memory, or calls Remove
  };

  // Errors  kInvalidArgument     the specification is malformed
  //         kFailedPrecondition  exists otherwise: the first difference, both
  //                              values named
  //         kNotFound            not there and not to be made
  //         kPermissionDenied    the template does not allow making it
  //         kResourceExhausted   kNamespacesMax; or no budget left
  absl::StatusOr<AttachDecision> Attach(const AttachRequest& request);

  // Makes a namespace with a quota of its own (0: what is left).
  // Errors  as Attach, and kAlreadyExists
  absl::StatusOr<uint64_t> Create(const NamespaceSpec& spec,
                                  uint64_t quota_bytes);

  // Undoes a creation whose memory could not be had.
  void Remove(uint64_t id);

  const Entry* Find(uint64_t id) const;
  const Entry* FindByName(absl::string_view name) const;
  std::vector<const Entry*> entries() const;

  uint64_t pool_bytes() const { return pool_bytes_; }
  uint64_t reserved_bytes() const { return reserved_bytes_; }

 private:
  uint64_t pool_bytes_;
  NamespaceTemplate template_;
  uint64_t reserved_bytes_ = 0;
  uint64_t next_id_ = 0;
  std::vector<Entry> entries_;
};

}  // namespace kvferry::core

#endif  // KVFERRY_DAEMON_CORE_CATALOG_H_
