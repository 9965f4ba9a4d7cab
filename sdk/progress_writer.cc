#include "sdk/progress_writer.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>

#include "sdk/copy_kernels.h"
#include "sdk/futex.h"

namespace kvferry::sdk {

using protocol::kProgressLayersMax;

void ProgressWriter::Open(protocol::ProgressHeader* file, uint32_t index,
                          uint32_t generation) {
  auto* const bytes = reinterpret_cast<std::byte*>(file);
  record_ = reinterpret_cast<protocol::ProgressRecord*>(
                bytes + protocol::kProgressRecordsOffset) +
            index;
  hand_over_ = reinterpret_cast<char*>(bytes + protocol::kHandOverOffset) +
               uint64_t{index} * protocol::kHandOverBytesMax;
  generation_ = generation;
  // What the record's last publication left goes before the word names the new
  // one, whose readers believe the rest by it.
  record_->given_up.store(0, std::memory_order_relaxed);
  record_->hand_over_bytes.store(0, std::memory_order_relaxed);
  record_->chunk_end.store(chunk_end_, std::memory_order_release);
  StoreWord();
  if (gave_up_) record_->given_up.store(generation_, std::memory_order_release);
  Changed();
}

void ProgressWriter::Advance(uint32_t positions) {
  if (positions <= positions_) return;
  positions_ = positions;
  if (positions_ >= chunk_end_) layers_ = 0;
  if (!open()) return;
  StoreWord();
  Changed();
}

void ProgressWriter::Layers(uint32_t chunk_end, uint32_t layers) {
  layers = std::min(layers, kProgressLayersMax);
  if (layers <= layers_) return;
  // The end changes only while the word counts no layers. Release: a reader
  // that sees it sees the word that ended the chunk before it, too.
  const bool first = layers_ == 0;
  if (first) chunk_end_ = chunk_end;
  layers_ = layers;
  if (!open()) return;
  if (first) record_->chunk_end.store(chunk_end_, std::memory_order_release);
  StoreWord();
  Changed();
}

void ProgressWriter::SetHandOver(absl::string_view bytes) {
  // A reader takes a copy for whole when size and `changes` are after it what
  // they were before, so both change before the bytes do.
  record_->hand_over_bytes.store(0, std::memory_order_relaxed);
  record_->changes.store(record_->changes.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  if (!bytes.empty()) std::memcpy(hand_over_, bytes.data(), bytes.size());
  record_->hand_over_bytes.store(static_cast<uint32_t>(bytes.size()),
                                 std::memory_order_release);
  Changed();
}

void ProgressWriter::GiveUp() {
  if (gave_up_) return;
  gave_up_ = true;
  if (!open()) return;
  // After the word: who sees this sees how far the writer came.
  record_->given_up.store(generation_, std::memory_order_release);
  Changed();
}

void ProgressWriter::GoOn() {
  if (!gave_up_) return;
  gave_up_ = false;
  if (!open()) return;
  record_->given_up.store(0, std::memory_order_release);
  Changed();
}

void ProgressWriter::Close() {
  record_ = nullptr;
  hand_over_ = nullptr;
}

void ProgressWriter::StoreWord() {
  OrderCopies();
  record_->word.store(
      protocol::PackProgress({generation_, positions_, layers_}),
      std::memory_order_release);
}

void ProgressWriter::Changed() {
  record_->changes.store(record_->changes.load(std::memory_order_relaxed) + 1,
                         std::memory_order_release);
  FutexWakeAll(&record_->changes);
}

}  // namespace kvferry::sdk
