#include "daemon/config/config.h"

#include <algorithm>

namespace kvferry::config {

bool Config::open_to_others() const {
  return !default_read.owner_only() || !default_publish.owner_only() ||
         std::any_of(namespaces.begin(), namespaces.end(),
                     [](const NamespaceAccess& access) {
                       return !access.read.owner_only() ||
                              !access.publish.owner_only();
                     });
}

}  // namespace kvferry::config
