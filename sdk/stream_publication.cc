#include "sdk/stream_publication.h"

#include <algorithm>
#include <atomic>
#include <bit>

namespace kvferry::sdk {

using protocol::kNoWriter;
using protocol::kSlicesMax;
using protocol::Progress;
using protocol::PublicationPhase;
using protocol::PublicationRef;

namespace {

constexpr uint32_t kNever = ~uint32_t{0};
// Reads of hand-over data that are being replaced.
constexpr int kHandOverReads = 16;

}  // namespace

void StreamPublication::Follow(Attachment* attachment, PublicationRef ref,
                               uint32_t slice_count) {
  if (Follows(ref)) return;
  Forget();
  attachment_ = attachment;
  ref_ = ref;
  record_ = &attachment->publication(ref.slot);
  // A group with one slice is written by whoever begins the block, which may
  // be a writer of any slice of the namespace.
  any_writer_ = slice_count == 1;
  needed_ = any_writer_ || slice_count >= kSlicesMax
                ? ~uint64_t{0}
                : (uint64_t{1} << slice_count) - 1;
}

void StreamPublication::Forget() {
  for (uint32_t w = 0; w < writer_count_; ++w) writers_[w] = {};
  writer_count_ = 0;
  attachment_ = nullptr;
  record_ = nullptr;
  ref_ = {};
  open_ = false;
  know_writers_ = false;
  unresolved_ = false;
  positions_ = 0;
  chunk_end_ = 0;
  layers_ = 0;
  given_up_at_ = kNever;
  done_.fill(0);
  told_by_.fill(kNoWriter);
}

void StreamPublication::LookAtRecord() {
  // First: what is read after it is at least as new.
  changes_ = record_->changes.load(std::memory_order_acquire);
  const bool ours =
      record_->generation.load(std::memory_order_acquire) == ref_.generation;
  const uint32_t phase = record_->phase.load(std::memory_order_acquire);
  // The phase of the next one is stored after its generation.
  open_ =
      ours && phase == static_cast<uint32_t>(PublicationPhase::kOpen) &&
      record_->generation.load(std::memory_order_relaxed) == ref_.generation;
}

void StreamPublication::Look() {
  LookAtRecord();
  if (open_ && (!know_writers_ || writers_changes_ != changes_)) {
    // Not ours any more: what is known of the writers stays.
    know_writers_ = TakeWriters();
    writers_changes_ = changes_;
  }
  unresolved_ = false;
  for (uint32_t w = 0; w < writer_count_; ++w) {
    Writer& writer = writers_[w];
    if (writer.slices == 0) continue;
    if (writer.record != nullptr) LookAtWriter(&writer);
    // A record that speaks of something else may be this writer's, who has not
    // come to it, or that of a session which had the number before.
    if (!writer.speaks) {
      Resolve(&writer);
      if (writer.record != nullptr) LookAtWriter(&writer);
    }
    unresolved_ |= !writer.speaks;
  }
  Combine();
}

bool StreamPublication::TakeWriters() {
  std::array<uint16_t, kSlicesMax> refs;
  for (uint32_t s = 0; s < kSlicesMax; ++s) {
    refs[s] = (needed_ >> s & 1) == 0
                  ? kNoWriter
                  : record_->writers[s].load(std::memory_order_acquire);
  }
  if (record_->generation.load(std::memory_order_relaxed) != ref_.generation) {
    return false;
  }
  for (uint32_t w = 0; w < writer_count_; ++w) writers_[w].slices = 0;
  for (uint32_t s = 0; s < kSlicesMax; ++s) {
    if (refs[s] == kNoWriter || protocol::UnpackWriterRef(refs[s]).record >=
                                    protocol::kProgressRecords) {
      continue;
    }
    // What a writer that died had passed says nothing of its successor's.
    if (refs[s] != told_by_[s]) done_[s] = 0;
    told_by_[s] = refs[s];
    WriterFor(refs[s])->slices |= uint64_t{1} << s;
  }
  return true;
}

StreamPublication::Writer* StreamPublication::WriterFor(uint16_t ref) {
  for (uint32_t w = 0; w < writer_count_; ++w) {
    if (writers_[w].ref == ref) return &writers_[w];
  }
  uint32_t w = writer_count_;
  if (writer_count_ < kSlicesMax) {
    ++writer_count_;
  } else {
    // There are no more writers than slices, so one of them has gone.
    w = 0;
    while (w + 1 < kSlicesMax && writers_[w].slices != 0) ++w;
  }
  writers_[w] = {};
  writers_[w].ref = ref;
  return &writers_[w];
}

void StreamPublication::Resolve(Writer* writer) {
  const protocol::WriterRef ref = protocol::UnpackWriterRef(writer->ref);
  std::shared_ptr<const ProgressFile> file =
      attachment_->FindProgress(ref.file);
  if (file == writer->file) {
    file = attachment_->AskProgress(ref.file, writer->file.get());
  }
  if (file == nullptr || file == writer->file) return;
  writer->file = std::move(file);
  writer->record = &writer->file->record(ref.record);
}

void StreamPublication::LookAtWriter(Writer* writer) const {
  const protocol::ProgressRecord& record = *writer->record;
  writer->changes = record.changes.load(std::memory_order_acquire);
  // Before the word: the word of a writer that has given up says the last.
  writer->given_up =
      record.given_up.load(std::memory_order_acquire) == ref_.generation;
  const uint64_t word = record.word.load(std::memory_order_acquire);
  const Progress progress = protocol::UnpackProgress(word);
  writer->speaks = progress.generation == ref_.generation;
  writer->layers = 0;
  if (!writer->speaks) return;
  writer->positions = progress.positions;
  if (progress.layers == 0) return;
  const uint32_t chunk_end = record.chunk_end.load(std::memory_order_acquire);
  const Progress again =
      protocol::UnpackProgress(record.word.load(std::memory_order_relaxed));
  // The chunk's end may be the next one's once the writer has gone on.
  if (again.generation != progress.generation ||
      again.positions != progress.positions) {
    return;
  }
  writer->chunk_end = chunk_end;
  writer->layers = progress.layers;
}

void StreamPublication::Combine() {
  given_up_at_ = kNever;
  uint32_t least = kNever;
  if (any_writer_) {
    // Whose block it is cannot be seen, so all of them must have passed it; and
    // it is lost for certain only when all have given up.
    uint32_t most = 0;
    bool all_gave_up = true;
    for (uint32_t w = 0; w < writer_count_; ++w) {
      const Writer& writer = writers_[w];
      if (writer.slices == 0) continue;
      least = std::min(least, writer.speaks ? writer.positions : 0);
      most = std::max(most, writer.positions);
      all_gave_up &= writer.given_up;
    }
    // Anew each time: a writer that has come since may be writing what the
    // others have passed as not theirs (mutant "progress kept of fewer" of
    // tests/model).
    positions_ = least == kNever ? 0 : least;
    if (least != kNever && all_gave_up) {
      given_up_at_ = std::max(most, positions_);
    }
  } else {
    for (uint32_t w = 0; w < writer_count_; ++w) {
      const Writer& writer = writers_[w];
      for (uint64_t left = writer.slices; left != 0; left &= left - 1) {
        uint32_t& done = done_[static_cast<uint32_t>(std::countr_zero(left))];
        if (writer.speaks) done = std::max(done, writer.positions);
        if (writer.given_up) given_up_at_ = std::min(given_up_at_, done);
      }
    }
    for (uint64_t left = needed_; left != 0; left &= left - 1) {
      least =
          std::min(least, done_[static_cast<uint32_t>(std::countr_zero(left))]);
    }
    positions_ = least;
  }
  CombineLayers();
}

void StreamPublication::CombineLayers() {
  layers_ = 0;
  chunk_end_ = positions_;
  uint32_t end = kNever;
  uint32_t layers = kNever;
  uint64_t covered = 0;
  for (uint32_t w = 0; w < writer_count_; ++w) {
    const Writer& writer = writers_[w];
    if (writer.slices == 0) continue;
    if (!writer.speaks) return;
    covered |= writer.slices;
    if (writer.positions > positions_) {
      // Done with its share of what the others are still at.
      end = std::min(end, writer.positions);
    } else if (writer.positions == positions_ && writer.layers > 0) {
      end = std::min(end, writer.chunk_end);
      layers = std::min(layers, writer.layers);
    } else {
      return;
    }
  }
  // Slices without a writer now: what was seen of them, or nothing.
  if (!any_writer_) {
    for (uint64_t left = needed_ & ~covered; left != 0; left &= left - 1) {
      end = std::min(end, done_[static_cast<uint32_t>(std::countr_zero(left))]);
    }
  }
  if (layers == kNever || end == kNever || end <= positions_) return;
  layers_ = layers;
  chunk_end_ = end;
}

uint32_t StreamPublication::age_ms() const {
  return attachment_->header().coarse_now_ms.load(std::memory_order_relaxed) -
         record_->started_ms.load(std::memory_order_relaxed);
}

void StreamPublication::AddWords(StreamWaiter* waiter) const {
  AddRecordWord(waiter);
  for (uint32_t w = 0; w < writer_count_; ++w) {
    const Writer& writer = writers_[w];
    if (writer.slices == 0 || writer.record == nullptr) continue;
    waiter->Add(&writer.record->changes, writer.changes, &writer.file);
  }
}

bool StreamPublication::CopyHandOver(std::string* data) const {
  for (uint32_t w = 0; w < writer_count_; ++w) {
    const Writer& writer = writers_[w];
    if (writer.record == nullptr) continue;
    const protocol::ProgressRecord& record = *writer.record;
    const char* const source =
        writer.file->hand_over(protocol::UnpackWriterRef(writer.ref).record);
    for (int read = 0; read < kHandOverReads; ++read) {
      const uint32_t changes = record.changes.load(std::memory_order_acquire);
      const uint32_t bytes =
          record.hand_over_bytes.load(std::memory_order_acquire);
      if (bytes == 0 || bytes > protocol::kHandOverBytesMax) break;
      std::string copy(source, bytes);
      std::atomic_thread_fence(std::memory_order_acquire);
      // The data belong to the word's generation, which is stored no later
      // than they are.
      if (protocol::UnpackProgress(record.word.load(std::memory_order_relaxed))
              .generation != ref_.generation) {
        break;
      }
      if (record.hand_over_bytes.load(std::memory_order_relaxed) != bytes ||
          record.changes.load(std::memory_order_relaxed) != changes) {
        continue;
      }
      *data = std::move(copy);
      return true;
    }
  }
  return false;
}

}  // namespace kvferry::sdk
