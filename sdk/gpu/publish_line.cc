#include "sdk/gpu/publish_line.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "sdk/publication_record.h"

namespace kvferry::sdk {
namespace {

bool Writes(const PublishEntry& entry, uint32_t position) {
  return std::any_of(entry.written.begin(), entry.written.end(),
                     [position](const PublishEntry::Written& written) {
                       return written.position == position;
                     });
}

}  // namespace

absl::Status PublishLine::CheckLayers(uint32_t first, uint32_t count,
                                      gpu::LayerRange layers,
                                      uint32_t layer_count) const {
  if (layers.first == 0) return absl::OkStatus();
  MutexLock lock(&mutex_);
  if (first == chunk_first_ && count == chunk_count_ &&
      layers.first == chunk_layers_) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "gpu: layers [", layers.first, ", +", layers.count, ") of ", layer_count,
      " of positions [", first, ", +", count,
      "); layers of a chunk go in order from 0, and the last were up to ",
      chunk_layers_, " of positions [", chunk_first_, ", +", chunk_count_,
      ")"));
}

bool PublishLine::Spoilt(uint32_t position) const {
  MutexLock lock(&mutex_);
  return spoilt_.contains(position);
}

void PublishLine::Enter(std::shared_ptr<PublishEntry> entry,
                        gpu::LayerRange layers) {
  MutexLock lock(&mutex_);
  chunk_first_ = entry->first;
  chunk_count_ = entry->count;
  chunk_layers_ = layers.first + layers.count;
  entries_.push_back(std::move(entry));
}

void PublishLine::End(PublishEntry* entry, PublicationState* state) {
  std::vector<std::shared_ptr<PublishEntry>> settled;
  {
    MutexLock lock(&mutex_);
    entry->ended = true;
    while (!entries_.empty() && entries_.front()->ended) {
      Settle(entries_.front().get(), state);
      settled.push_back(std::move(entries_.front()));
      entries_.pop_front();
    }
    AbortSpoilt(state);
  }
  // The publication may be gone with the last of them.
  for (const auto& one : settled) std::exchange(one->finish, nullptr)();
}

absl::Status PublishLine::Check(const PublishEntry::Written& written,
                                const PublicationEntry& now,
                                const Attachment& attachment) const {
  if (now.block != written.block) {
    return absl::AbortedError(
        absl::StrCat("gpu: position ", written.position,
                     " was moved to another block while it was written"));
  }
  // After the copy: what is odd and the same is the memory that has the bytes.
  if (written.pool != 0 &&
      !attachment.gpu_pools().Stands(written.pool, written.incarnation)) {
    return absl::AbortedError(
        absl::StrCat("gpu: the memory of pool ", written.pool,
                     " went with its worker before position ", written.position,
                     " was written"));
  }
  return absl::OkStatus();
}

void PublishLine::Settle(PublishEntry* entry, PublicationState* state) {
  GpuOperation* const operation = entry->operation.get();
  bool whole = true;
  std::vector<uint32_t> good;
  for (const PublishEntry::Written& written : entry->written) {
    const uint32_t position = written.position;
    if (operation->failure().ok() && !spoilt_.contains(position)) {
      const PublicationEntry now = state->Look(position);
      if (!IsWritten(now.outcome)) {
        // Another was faster, or the daemon is gone: committed all the same,
        // which lets go of its block.
        operation->Skip(position);
        good.push_back(position);
        continue;
      }
      const absl::Status checked = Check(written, now, *state->attachment());
      if (checked.ok()) {
        good.push_back(position);
        continue;
      }
      operation->Fail(checked);
    }
    whole = false;
  }
  if (!operation->failure().ok() || !whole) {
    operation->Fail(absl::AbortedError("gpu: a transfer before it failed"));
    for (const PublishEntry::Written& written : entry->written) {
      operation->Skip(written.position);
      if (spoilt_.insert(written.position).second) {
        to_abort_.insert(written.position);
      }
    }
    return;
  }
  if (entry->layers != 0) {
    operation->Fail(
        state->CommitLayers(entry->first, entry->count, entry->layers));
    return;
  }
  if (!entry->commit) return;
  for (size_t i = 0; i < good.size();) {
    size_t end = i + 1;
    while (end < good.size() && good[end] == good[end - 1] + 1) ++end;
    operation->Fail(state->Commit(good[i], static_cast<uint32_t>(end - i)));
    i = end;
  }
}

void PublishLine::AbortSpoilt(PublicationState* state) {
  std::erase_if(to_abort_, [&](uint32_t position) {
    for (const auto& entry : entries_) {
      if (Writes(*entry, position)) return false;
    }
    state->AbortOne(position);
    return true;
  });
}

}  // namespace kvferry::sdk
