#ifndef KVFERRY_PROTOCOL_SPEC_H_
#define KVFERRY_PROTOCOL_SPEC_H_

#include <array>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "kvferry/key.h"
#include "kvferry/layout.h"
#include "protocol/control_generated.h"

namespace kvferry::protocol {

// SHA-256 over the canonical serialisation of a specification (all of it but
// the name) and the page format's version. Two processes share blocks only if
// theirs are equal.
using Fingerprint = std::array<std::byte, 32>;
Fingerprint FingerprintOf(const NamespaceSpec& spec);

// What the namespace's keys are salted with: SHA-256 of the fingerprint and
// the name, hence equal on every node.
NamespaceSalt SaltOf(const Fingerprint& fingerprint, absl::string_view name);

// Checks every number and string against the limits.
// Errors  kInvalidArgument  names the field, its value and the limit
absl::Status ValidateSpec(const NamespaceSpec& spec);

// What keeps two specifications of one name apart, for people: the first
// field that differs, with `theirs` and `ours`. Empty when equal.
std::string DescribeDifference(const NamespaceSpec& theirs,
                               const NamespaceSpec& ours);

// Conversions to and from the control protocol. Strings are taken as they are;
// validate what a client sent.
wire::NamespaceSpecT ToWire(const NamespaceSpec& spec);
NamespaceSpec FromWire(const wire::NamespaceSpecT& spec);

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_SPEC_H_
