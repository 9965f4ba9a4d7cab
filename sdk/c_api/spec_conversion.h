#ifndef KVFERRY_SDK_C_API_SPEC_CONVERSION_H_
#define KVFERRY_SDK_C_API_SPEC_CONVERSION_H_

#include "absl/status/statusor.h"
#include "kvferry/kvferry.h"
#include "kvferry/layout.h"

namespace kvferry::c_api {

// Errors  kInvalidArgument  a struct that cannot be read; an unknown rule.
//         Whether the specification makes sense is for others to say.
absl::StatusOr<GroupSpec> ToGroupSpec(const kvf_group_spec* spec);
absl::StatusOr<NamespaceSpec> ToNamespaceSpec(const kvf_namespace_spec* spec);
// A specification with the name alone.
absl::StatusOr<NamespaceSpec> ToNamedSpec(const kvf_namespace_spec* spec);

// Its name is `group`'s.
kvf_group_spec ToC(const GroupSpec& group);

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_SPEC_CONVERSION_H_
