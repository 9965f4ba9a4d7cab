#include "daemon/control/access.h"

#include <unistd.h>

#include <algorithm>

namespace kvferry::control {
namespace {

template <typename Range, typename Value>
bool Contains(const Range& range, const Value& value) {
  return std::find(range.begin(), range.end(), value) != range.end();
}

bool Allows(const config::AccessList& list, const Peer& peer) {
  return list.everybody || Contains(list.users, peer.uid) ||
         Contains(list.groups, peer.gid) ||
         std::any_of(peer.groups.begin(), peer.groups.end(),
                     [&](gid_t gid) { return Contains(list.groups, gid); });
}

// The namespace's own entry, or null: the template's lists hold.
const config::NamespaceAccess* EntryOf(const config::Config& config,
                                       absl::string_view namespace_name) {
  for (const config::NamespaceAccess& entry : config.namespaces) {
    if (namespace_name == entry.name) return &entry;
  }
  return nullptr;
}

}  // namespace

bool IsOperator(const Peer& peer) {
  return peer.uid == 0 || peer.uid == ::geteuid();
}

bool MayPublish(const config::Config& config, absl::string_view namespace_name,
                const Peer& peer) {
  const config::NamespaceAccess* entry = EntryOf(config, namespace_name);
  return IsOperator(peer) ||
         Allows(entry ? entry->publish : config.default_publish, peer);
}

bool MayRead(const config::Config& config, absl::string_view namespace_name,
             const Peer& peer) {
  const config::NamespaceAccess* entry = EntryOf(config, namespace_name);
  return MayPublish(config, namespace_name, peer) ||
         Allows(entry ? entry->read : config.default_read, peer);
}

}  // namespace kvferry::control
