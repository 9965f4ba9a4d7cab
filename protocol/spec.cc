#include "protocol/spec.h"

#include <openssl/sha.h>

#include <cstdint>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "protocol/limits.h"

namespace kvferry::protocol {
namespace {

// Bumped when the order of bytes inside a page changes.
constexpr uint32_t kPageFormatVersion = 1;

// Length-prefixed strings and little-endian integers: no two specifications
// serialise alike.
class Canonical {
 public:
  void Add(absl::string_view text) {
    Add(static_cast<uint64_t>(text.size()));
    bytes_.append(text.data(), text.size());
  }
  void Add(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) {
      bytes_.push_back(static_cast<char>(value >> shift & 0xff));
    }
  }
  std::array<std::byte, 32> Digest() const {
    std::array<std::byte, 32> digest;
    SHA256(reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size(),
           reinterpret_cast<unsigned char*>(digest.data()));
    return digest;
  }

 private:
  std::string bytes_;
};

absl::Status CheckString(absl::string_view field, const std::string& value,
                         uint32_t bytes_max) {
  if (value.size() <= bytes_max) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, ": ", value.size(), " bytes, the limit is ", bytes_max));
}

absl::Status CheckRange(absl::string_view field, uint64_t value, uint64_t min,
                        uint64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", must be ", min, " to ", max));
}

absl::string_view RuleName(HitRule rule) {
  switch (rule) {
    case HitRule::kAllPrefix:
      return "all-prefix";
    case HitRule::kTrailing:
      return "trailing";
    case HitRule::kCheckpoint:
      return "checkpoint";
  }
  return "unknown";
}

absl::Status ValidateGroup(const GroupSpec& group, size_t index) {
  const std::string at = absl::StrCat("groups[", index, "].");
  if (absl::Status status =
          CheckString(at + "name", group.name, kGroupNameBytesMax);
      !status.ok()) {
    return status;
  }
  const struct {
    const char* field;
    uint64_t value, min, max;
  } ranges[] = {
      {"block_tokens", group.block_tokens, 1, kBlockTokensMax},
      {"layer_count", group.layer_count, 1, 65535},
      {"kv_count", group.kv_count, 1, 2},
      {"head_count", group.head_count, 1, 65535},
      {"head_bytes", group.head_bytes, 1, kBlockBytesMax},
      {"slice_count", group.slice_count, 1, kSlicesMax},
      {"rule", static_cast<uint64_t>(group.rule), 0, 2},
  };
  for (const auto& range : ranges) {
    if (absl::Status status =
            CheckRange(at + range.field, range.value, range.min, range.max);
        !status.ok()) {
      return status;
    }
  }
  // The product of the maxima does not fit 64 bits; each step is checked.
  uint64_t bytes = 1;
  for (uint64_t factor :
       {uint64_t{group.block_tokens}, uint64_t{group.layer_count},
        uint64_t{group.kv_count}, uint64_t{group.head_count},
        uint64_t{group.head_bytes}, uint64_t{group.slice_count}}) {
    bytes *= factor;
    if (bytes > kBlockBytesMax) {
      return absl::InvalidArgumentError(
          absl::StrCat(at, "block bytes are over the limit of ", kBlockBytesMax,
                       " (256 MiB)"));
    }
  }
  if (group.rule == HitRule::kTrailing) {
    return CheckRange(at + "trailing_blocks", group.trailing_blocks, 1,
                      kKeysPerCallMax);
  }
  return CheckRange(at + "trailing_blocks (rule is not trailing)",
                    group.trailing_blocks, 0, 0);
}

}  // namespace

Fingerprint FingerprintOf(const NamespaceSpec& spec) {
  Canonical canonical;
  canonical.Add("kvferry-namespace");
  canonical.Add(kPageFormatVersion);
  canonical.Add(spec.model);
  canonical.Add(spec.revision);
  canonical.Add(spec.dtype);
  canonical.Add(static_cast<uint64_t>(spec.groups.size()));
  for (const GroupSpec& group : spec.groups) {
    canonical.Add(group.name);
    for (uint64_t value :
         {uint64_t{group.block_tokens}, uint64_t{group.layer_count},
          uint64_t{group.kv_count}, uint64_t{group.head_count},
          uint64_t{group.head_bytes}, uint64_t{group.slice_count},
          static_cast<uint64_t>(group.rule), uint64_t{group.trailing_blocks}}) {
      canonical.Add(value);
    }
  }
  return canonical.Digest();
}

NamespaceSalt SaltOf(const Fingerprint& fingerprint, absl::string_view name) {
  Canonical canonical;
  canonical.Add("kvferry-salt");
  canonical.Add(absl::string_view(
      reinterpret_cast<const char*>(fingerprint.data()), fingerprint.size()));
  canonical.Add(name);
  return canonical.Digest();
}

absl::Status ValidateSpec(const NamespaceSpec& spec) {
  if (spec.name.empty()) {
    return absl::InvalidArgumentError("namespace name: empty");
  }
  for (const auto& [field, value, max] :
       {std::tuple<const char*, const std::string&, uint32_t>{
            "namespace name", spec.name, kNamespaceNameBytesMax},
        {"model", spec.model, kSpecStringBytesMax},
        {"revision", spec.revision, kSpecStringBytesMax},
        {"dtype", spec.dtype, kSpecStringBytesMax}}) {
    if (absl::Status status = CheckString(field, value, max); !status.ok()) {
      return status;
    }
  }
  for (char letter : spec.name) {
    if (letter <= ' ' || letter == '/' || letter == 0x7f) {
      return absl::InvalidArgumentError(absl::StrCat(
          "namespace name \"", spec.name,
          "\": control characters, spaces and '/' are not allowed"));
    }
  }
  if (absl::Status status =
          CheckRange("group count", spec.groups.size(), 1, kGroupsMax);
      !status.ok()) {
    return status;
  }
  for (size_t i = 0; i < spec.groups.size(); ++i) {
    if (absl::Status status = ValidateGroup(spec.groups[i], i); !status.ok()) {
      return status;
    }
  }
  return absl::OkStatus();
}

std::string DescribeDifference(const NamespaceSpec& theirs,
                               const NamespaceSpec& ours) {
  auto differ = [](absl::string_view field, const auto& their_value,
                   const auto& our_value) {
    return absl::StrCat(field, " is ", their_value, " here, ", our_value,
                        " in the namespace");
  };
  if (theirs.model != ours.model) {
    return differ("model", theirs.model, ours.model);
  }
  if (theirs.revision != ours.revision) {
    return differ("revision", theirs.revision, ours.revision);
  }
  if (theirs.dtype != ours.dtype) {
    return differ("dtype", theirs.dtype, ours.dtype);
  }
  if (theirs.groups.size() != ours.groups.size()) {
    return differ("group count", theirs.groups.size(), ours.groups.size());
  }
  for (size_t i = 0; i < ours.groups.size(); ++i) {
    const GroupSpec& a = theirs.groups[i];
    const GroupSpec& b = ours.groups[i];
    const std::string at = absl::StrCat("groups[", i, "].");
    // Slices and page size first: they are what people get wrong.
    if (a.slice_count != b.slice_count) {
      return differ(at + "slice_count", a.slice_count, b.slice_count);
    }
    if (a.page_bytes() != b.page_bytes()) {
      return differ(at + "page_bytes", a.page_bytes(), b.page_bytes());
    }
    if (a.name != b.name) return differ(at + "name", a.name, b.name);
    if (a.rule != b.rule) {
      return differ(at + "rule", RuleName(a.rule), RuleName(b.rule));
    }
    const struct {
      const char* field;
      uint32_t their_value, our_value;
    } numbers[] = {
        {"block_tokens", a.block_tokens, b.block_tokens},
        {"layer_count", a.layer_count, b.layer_count},
        {"kv_count", a.kv_count, b.kv_count},
        {"head_count", a.head_count, b.head_count},
        {"head_bytes", a.head_bytes, b.head_bytes},
        {"trailing_blocks", a.trailing_blocks, b.trailing_blocks},
    };
    for (const auto& number : numbers) {
      if (number.their_value != number.our_value) {
        return differ(at + number.field, number.their_value, number.our_value);
      }
    }
  }
  return "";
}

wire::NamespaceSpecT ToWire(const NamespaceSpec& spec) {
  wire::NamespaceSpecT out;
  out.name = spec.name;
  out.model = spec.model;
  out.revision = spec.revision;
  out.dtype = spec.dtype;
  for (const GroupSpec& group : spec.groups) {
    auto to = std::make_unique<wire::GroupT>();
    to->name = group.name;
    to->block_tokens = group.block_tokens;
    to->layer_count = group.layer_count;
    to->kv_count = group.kv_count;
    to->head_count = group.head_count;
    to->head_bytes = group.head_bytes;
    to->slice_count = group.slice_count;
    to->rule = static_cast<wire::HitRule>(group.rule);
    to->trailing_blocks = group.trailing_blocks;
    out.groups.push_back(std::move(to));
  }
  return out;
}

NamespaceSpec FromWire(const wire::NamespaceSpecT& spec) {
  NamespaceSpec out;
  out.name = spec.name;
  out.model = spec.model;
  out.revision = spec.revision;
  out.dtype = spec.dtype;
  for (const auto& from : spec.groups) {
    if (from == nullptr) continue;
    GroupSpec group;
    group.name = from->name;
    group.block_tokens = from->block_tokens;
    group.layer_count = from->layer_count;
    group.kv_count = from->kv_count;
    group.head_count = from->head_count;
    group.head_bytes = from->head_bytes;
    group.slice_count = from->slice_count;
    group.rule = static_cast<HitRule>(from->rule);
    group.trailing_blocks = from->trailing_blocks;
    out.groups.push_back(std::move(group));
  }
  return out;
}

}  // namespace kvferry::protocol
