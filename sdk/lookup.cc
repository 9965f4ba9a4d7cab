// Client::Lookup: what is there and what is coming, without a trace.

#include "kvferry/lookup.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "kvferry/client.h"
#include "sdk/boundary_search.h"
#include "sdk/client_impl.h"
#include "sdk/lookup.h"
#include "sdk/matcher.h"
#include "sdk/stream_publication.h"

namespace kvferry {
namespace sdk {
namespace {

using protocol::PublicationRef;

// Publications that one prompt's blocks are being written by: more than a few
// means that nobody can say when it is there.
constexpr size_t kPublicationsMax = 8;
// When to ask again for what a GPU has and host memory is to get: the copy is
// due at once, and nothing here tells how many are before it.
constexpr absl::Duration kCopyDue = absl::Milliseconds(10);

// One call. Each key is looked up once for both searches.
class PromptLookup {
 public:
  PromptLookup(Attachment* attachment, std::span<const GroupKeys> groups)
      : attachment_(attachment),
        usable_(attachment->gpu_pools().Usable()),
        search_(attachment->segments(), groups) {
    states_.assign(search_.key_count(), State::kUnknown);
  }

  LookupResult Run();

 private:
  using Group = BoundarySearch::Group;
  // kElsewhere: whole, in a GPU that this client does not reach.
  enum class State : uint8_t {
    kUnknown,
    kAbsent,
    kInFlight,
    kElsewhere,
    kReady
  };
  // A publication and the last of its positions that is waited for.
  struct Awaited {
    PublicationRef last;
    uint32_t slice_count = 0;
  };

  State StateOf(const Group& group, uint32_t position);
  ResidenceHits Find(const BlockKey& key) const;
  absl::Duration Estimate(uint64_t boundary);
  // Adds the publication of a block; false when nobody can follow it.
  bool Await(const Group& group, const BlockKey& key);
  absl::Duration EstimateOf(const Awaited& awaited);

  Attachment* const attachment_;
  const UsablePools usable_;
  BoundarySearch search_;
  std::vector<State> states_;
  std::vector<Awaited> awaited_;
};

PromptLookup::State PromptLookup::StateOf(const Group& group,
                                          uint32_t position) {
  State& state = states_[group.offset + position];
  if (state != State::kUnknown) return state;
  const GpuPools& pools = attachment_->gpu_pools();
  const ResidenceHits hits = Find(group.keys[position]);
  // The same conditions as a match's.
  const auto is_there = [&](const InFlightHit& hit) {
    return hit.found() && attachment_->HasBlock(group.number, hit.block());
  };
  const bool on_host = is_there(hits.host);
  const bool in_gpu = is_there(hits.gpu);
  const bool usable = in_gpu && pools.used() &&
                      usable_.incarnation(pools.PoolOf(hits.gpu.block())) != 0;
  if ((on_host && hits.host.ready()) || (usable && hits.gpu.ready())) {
    state = State::kReady;
  } else if (in_gpu && hits.gpu.ready()) {
    state = State::kElsewhere;
  } else {
    state = on_host || in_gpu ? State::kInFlight : State::kAbsent;
  }
  return state;
}

ResidenceHits PromptLookup::Find(const BlockKey& key) const {
  const IndexView& index = attachment_->index();
  if (attachment_->gpu_pools().pool_count() > 0) {
    return index.FindResidences(key);
  }
  return {.host = index.FindInFlight(key), .gpu = {}};
}

bool PromptLookup::Await(const Group& group, const BlockKey& key) {
  const ResidenceHits hits = Find(key);
  const InFlightHit& hit = hits.gpu.found() ? hits.gpu : hits.host;
  if (!hit.found() || hit.ready()) return true;  // it has come meanwhile
  const PublicationRef ref = protocol::UnpackPublicationRef(hit.aux);
  if (!ref.followable()) return false;
  const uint32_t slices =
      attachment_->segments().group(group.number).slice_count;
  for (Awaited& awaited : awaited_) {
    if (awaited.last.generation != ref.generation ||
        awaited.slice_count != slices) {
      continue;
    }
    awaited.last.position = std::max(awaited.last.position, ref.position);
    return true;
  }
  if (awaited_.size() == kPublicationsMax) return false;
  awaited_.push_back({ref, slices});
  return true;
}

absl::Duration PromptLookup::EstimateOf(const Awaited& awaited) {
  StreamPublication publication;
  publication.Follow(attachment_, awaited.last, awaited.slice_count);
  publication.Look();
  const uint32_t done = publication.positions();
  const uint32_t needed = awaited.last.position + 1;
  if (done >= needed) return absl::ZeroDuration();
  if (!publication.open() || done == 0) return absl::InfiniteDuration();
  // At the pace of its slowest writer since it was opened.
  return absl::Milliseconds(std::max(publication.age_ms(), 1u)) *
         (static_cast<double>(needed - done) / done);
}

absl::Duration PromptLookup::Estimate(uint64_t boundary) {
  absl::Duration estimate;
  for (Group& group : search_.groups()) {
    BoundarySearch::Use(group, boundary);
    for (uint32_t p = group.first; p < group.first + group.count; ++p) {
      const State state = StateOf(group, p);
      if (state == State::kElsewhere) estimate = kCopyDue;
      if (state == State::kInFlight && !Await(group, group.keys[p])) {
        return absl::InfiniteDuration();
      }
    }
  }
  for (const Awaited& awaited : awaited_) {
    estimate = std::max(estimate, EstimateOf(awaited));
  }
  return estimate;
}

LookupResult PromptLookup::Run() {
  const auto is_there = [this](const Group& group, uint32_t position) {
    return StateOf(group, position) == State::kReady;
  };
  const auto is_coming = [this](const Group& group, uint32_t position) {
    return StateOf(group, position) >= State::kInFlight;
  };
  LookupResult result;
  result.tokens = search_.Largest(attachment_->index(), is_there);
  result.coming_tokens = search_.Largest(attachment_->index(), is_coming);
  if (result.coming_tokens > result.tokens) {
    result.answer = LookupAnswer::kAskAgain;
    result.estimate = Estimate(result.coming_tokens);
  } else if (result.tokens > 0) {
    result.answer = LookupAnswer::kHit;
  }
  return result;
}

// Tokens up to a boundary that may end in a tail.
void ApplyTail(const GroupKeys& group, uint32_t block_tokens,
               uint64_t* tokens) {
  if (group.tail_tokens == 0 ||
      *tokens != group.keys.size() * uint64_t{block_tokens}) {
    return;
  }
  *tokens -= block_tokens - group.tail_tokens;
}

}  // namespace

absl::StatusOr<LookupResult> LookupGroups(Attachment* attachment,
                                          std::span<const GroupKeys> groups) {
  if (absl::Status status = Matcher::CheckGroups(*attachment, groups);
      !status.ok()) {
    return status;
  }
  LookupResult result = PromptLookup(attachment, groups).Run();
  if (groups.size() == 1) {
    const uint32_t block_tokens =
        attachment->segments().group(groups[0].group).block_tokens;
    ApplyTail(groups[0], block_tokens, &result.tokens);
    ApplyTail(groups[0], block_tokens, &result.coming_tokens);
  }
  return result;
}

}  // namespace sdk

absl::StatusOr<LookupResult> Client::Lookup(std::span<const BlockKey> keys) {
  const GroupKeys group{.group = 0, .keys = keys};
  return Lookup({&group, 1});
}

absl::StatusOr<LookupResult> Client::Lookup(std::span<const GroupKeys> groups) {
  if (impl_->forked()) return sdk::ForkedError();
  const std::shared_ptr<sdk::Attachment> attachment = impl_->attachment();
  return sdk::LookupGroups(attachment.get(), groups);
}

}  // namespace kvferry
