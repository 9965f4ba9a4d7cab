#include "tests/sim/stream_reader.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kvferry::sim {

using protocol::PublicationPhase;
using protocol::PublicationRecord;
using protocol::PublicationRef;
using protocol::ResidenceState;
using protocol::UnpackProgress;
using protocol::UnpackPublicationRef;
using protocol::UnpackResidence;

namespace {

BlockUse UseOf(uint64_t word) {
  const auto residence = UnpackResidence(word);
  return {residence.block, residence.generation};
}

bool IsOpen(const PublicationRecord& record, uint32_t generation) {
  return record.generation == generation &&
         record.phase == static_cast<uint32_t>(PublicationPhase::kOpen);
}

}  // namespace

std::vector<BlockUse> StreamReader::validated() const {
  std::vector<BlockUse> uses;
  for (const Block& block : blocks_) {
    if (block.valid && !block.pending) uses.push_back(UseOf(block.word));
  }
  return uses;
}

std::vector<BlockUse> StreamReader::followed() const {
  std::vector<BlockUse> uses;
  for (const Block& block : blocks_) {
    if (block.valid && block.pending) uses.push_back(UseOf(block.word));
  }
  return uses;
}

std::vector<BlockUse> StreamReader::promised() const {
  std::vector<BlockUse> uses;
  for (const Block& block : blocks_) {
    if (block.valid && block.passed &&
        world_.Stands(UseOf(block.word).first, block.incarnation) &&
        block.content_epoch == world_.core().content_epoch()) {
      uses.push_back(UseOf(block.word));
    }
  }
  return uses;
}

void StreamReader::Start() {
  blocks_.clear();
  ok_ = 0;
  follow_ = {};
  hinted_ = false;
  ended_seen_ = false;
  awaited_ = false;
  if (!world_.Chance(50) || !world_.Hint(&group_, &keys_, &follow_)) {
    const uint64_t identity = world_.RecentIdentity();
    group_ = World::GroupOf(identity);
    keys_ = world_.ChainOf(identity, 1 + world_.Random(World::kChainBlocks));
  }
  hinted_ = follow_.followable();
  phase_ = Phase::kFind;
}

void StreamReader::Find() {
  const BlockKey& key = keys_[blocks_.size()];
  const uint32_t slot = world_.FindSlot(key);
  Block block;
  if (slot != core::kNoSlot) {
    block.word = world_.gpu(slot);
    block.incarnation = Imported(UnpackResidence(block.word).block);
    block.in_gpu = block.word != 0 && block.incarnation != 0;
    if (!block.in_gpu) {
      block.word = world_.host(slot);
      block.incarnation = 1;
    }
  }
  // Also of a key whose bytes are only where it cannot reach them.
  if (block.word == 0) {
    Missing();
    return;
  }
  if (awaited_) ++world_.totals().awaited;
  awaited_ = false;
  ended_seen_ = false;
  block.key = key;
  block.slot = slot;
  block.pending = UnpackResidence(block.word).state == ResidenceState::kPending;
  blocks_.push_back(block);
  phase_ = block.pending ? Phase::kAux : Phase::kPin;
}

void StreamReader::Missing() {
  if (ok_ < blocks_.size()) {
    phase_ = Phase::kLook;  // those that are there first
    return;
  }
  if (!follow_.followable() || ended_seen_) {
    // Nothing was there to follow: no stream at all.
    if (blocks_.empty() && !hinted_) {
      phase_ = Phase::kIdle;
    } else {
      Finish(/*ok=*/false);
    }
    return;
  }
  Watch(follow_);
  writers_.clear();
  if (IsOpen(world_.publication(follow_.slot), follow_.generation)) {
    awaited_ = true;
    resume_ = Phase::kFind;
    phase_ = Phase::kSleep;
    return;
  }
  // It ended: what it began before that is seen by one more look.
  ended_seen_ = true;
}

void StreamReader::Validate() {
  Block& block = blocks_.back();
  uint64_t now = world_.word(block.slot, block.in_gpu);
  const bool same_aux = !block.pending || world_.aux(block.slot) == block.aux;
  // It may have become ready between the two looks.
  if (block.pending && UseOf(now) == UseOf(block.word) &&
      UnpackResidence(now).state == ResidenceState::kReady) {
    block.word = now;
  }
  block.valid =
      now == block.word && world_.key(block.slot) == block.key && same_aux;
  if (!block.valid) {
    pin(UnpackResidence(block.word).block).fetch_sub(1);
    blocks_.pop_back();
    phase_ = Phase::kFind;
    return;
  }
  world_.CheckNotCleared(block.word);
  if (block.pending && !hinted_ &&
      UnpackPublicationRef(block.aux).followable()) {
    follow_ = UnpackPublicationRef(block.aux);
  }
  phase_ = blocks_.size() < keys_.size() && world_.Chance(70) ? Phase::kFind
                                                              : Phase::kLook;
}

StreamReader::Standing StreamReader::Stands(const Block& block) const {
  const auto now = UnpackResidence(world_.word(block.slot, block.in_gpu));
  const auto then = UnpackResidence(block.word);
  if (now.block != then.block || now.generation != then.generation ||
      !(world_.key(block.slot) == block.key)) {
    return Standing::kGone;
  }
  switch (now.state) {
    case ResidenceState::kPending:
      return Standing::kPending;
    case ResidenceState::kReady:
    case ResidenceState::kRetiring:
      return Standing::kReady;
    case ResidenceState::kFree:
      break;
  }
  return Standing::kGone;
}

void StreamReader::Watch(PublicationRef publication) {
  watched_ = publication;
  watched_changes_ = world_.publication(publication.slot).changes;
  polls_ = !publication.followable();
  asleep_ = false;
}

void StreamReader::WatchWriters(PublicationRef publication) {
  const PublicationRecord& record = world_.publication(publication.slot);
  writers_.clear();
  writers_missing_ = false;
  const uint32_t words = slices() == 1 ? protocol::kSlicesMax : slices();
  for (uint32_t s = 0; s < words; ++s) {
    const uint16_t word = record.writers[s];
    if (word == protocol::kNoWriter) {
      writers_missing_ = writers_missing_ || slices() != 1;
      continue;
    }
    const protocol::WriterRef ref = protocol::UnpackWriterRef(word);
    const bool known =
        std::any_of(writers_.begin(), writers_.end(),
                    [&](const Writer& writer) { return writer.ref == ref; });
    if (known) continue;
    Writer writer{ref, FileOf(ref.file), 0};
    if (writer.file != nullptr) {
      writer.changes = ProgressAt(*writer.file, ref.record).changes;
    }
    writers_.push_back(writer);
  }
  writers_missing_ = writers_missing_ || writers_.empty();
}

std::shared_ptr<FakeFile> StreamReader::FileOf(uint8_t number) {
  std::shared_ptr<FakeFile>& file = files_[number];
  if (file == nullptr) file = world_.ProgressFile(number);
  return file;
}

void StreamReader::Look() {
  if (ok_ == keys_.size()) {
    Finish(/*ok=*/true);
    return;
  }
  if (ok_ == blocks_.size()) {
    phase_ = Phase::kFind;
    return;
  }
  const Block& block = blocks_[ok_];
  const PublicationRef publication = UnpackPublicationRef(block.aux);
  Watch(publication);
  writers_.clear();
  copy_.clear();
  told_ = Told::kWhole;
  switch (Stands(block)) {
    case Standing::kGone:
      Finish(/*ok=*/false);
      return;
    case Standing::kReady:
      phase_ = Phase::kCopy;
      return;
    case Standing::kPending:
      break;
  }
  if (publication.followable()) WatchWriters(publication);
  phase_ = Phase::kWords;
}

StreamReader::Told StreamReader::AskOne(const Block& block,
                                        const Writer& writer) {
  const PublicationRef publication = UnpackPublicationRef(block.aux);
  if (writer.file == nullptr) {
    polls_ = true;
    return Told::kNothing;
  }
  const protocol::ProgressRecord& record =
      ProgressAt(*writer.file, writer.ref.record);
  const protocol::Progress progress = UnpackProgress(record.word);
  if (progress.generation != publication.generation) {
    // Not told yet; or the number has gone to another session's file.
    if (files_[writer.ref.file] != world_.ProgressFile(writer.ref.file)) {
      files_.erase(writer.ref.file);
      polls_ = true;
    }
    return Told::kNothing;
  }
  if (progress.positions > publication.position) return Told::kWhole;
  if (progress.layers != 0 && record.chunk_end > publication.position) {
    return Told::kLayer;
  }
  return record.given_up == publication.generation ? Told::kNever
                                                   : Told::kNothing;
}

StreamReader::Told StreamReader::Ask(const Block& block) {
  const PublicationRef publication = UnpackPublicationRef(block.aux);
  Told all = Told::kWhole;
  for (const Writer& writer : writers_) {
    const Told told = AskOne(block, writer);
    if (told == Told::kNever) return told;
    if (told != Told::kWhole && all != Told::kNothing) all = told;
  }
  const PublicationRecord& record = world_.publication(publication.slot);
  if (!IsOpen(record, publication.generation)) {
    polls_ = true;  // the slot is about to say what became of it
    return Told::kNothing;
  }
  return writers_missing_ ? Told::kNothing : all;
}

void StreamReader::ReadWords() {
  const Block& block = blocks_[ok_];
  told_ = Told::kNothing;
  if (UnpackPublicationRef(block.aux).followable()) told_ = Ask(block);
  if (told_ == Told::kNever) {
    Finish(/*ok=*/false);
    return;
  }
  if (told_ == Told::kWhole || (told_ == Told::kLayer && !block.layered)) {
    phase_ = Phase::kCopy;
    return;
  }
  resume_ = Phase::kLook;
  phase_ = Phase::kSleep;
}

void StreamReader::Copy() {
  const uint32_t layers = told_ == Told::kLayer ? 1 : World::kLayers;
  const auto page = static_cast<uint32_t>(copy_.size());
  const Block& block = blocks_[ok_];
  copy_.push_back(world_.page(UseOf(block.word).first, page % slices(),
                              page / slices(), block.incarnation));
  world_.CountRead();
  if (copy_.size() == size_t{layers} * slices()) phase_ = Phase::kRecheck;
}

void StreamReader::Recheck() {
  Block& block = blocks_[ok_];
  phase_ = Phase::kLook;
  const Standing stands = Stands(block);
  if (!world_.Stands(UseOf(block.word).first, block.incarnation)) {
    ++world_.totals().gpu_misses;
    Finish(/*ok=*/false);
    return;
  }
  if (stands == Standing::kGone) {
    Finish(/*ok=*/false);
    return;
  }
  for (uint32_t page = 0; page < copy_.size(); ++page) {
    if (copy_[page] !=
        World::Content(block.key, page % slices(), page / slices())) {
      world_.Fail(absl::StrCat("a followed block ", UseOf(block.word).first,
                               " slice ", page % slices(), " layer ",
                               page / slices(), " has wrong bytes"));
    }
  }
  if (told_ == Told::kLayer) {
    block.layered = true;
    ++world_.totals().layered;
    return;
  }
  if (stands == Standing::kPending) {
    block.passed = true;
    block.content_epoch = world_.core().content_epoch();
    ++world_.totals().followed;
    if (block.in_gpu) ++world_.totals().gpu_follows;
  }
  block.ok = true;
  ++ok_;
}

void StreamReader::Sleep() {
  if (polls_) {
    if (world_.Chance(30)) phase_ = resume_;
    return;
  }
  const bool told =
      std::any_of(writers_.begin(), writers_.end(), [](const Writer& writer) {
        return writer.file != nullptr &&
               ProgressAt(*writer.file, writer.ref.record).changes !=
                   writer.changes;
      });
  if (!asleep_) {
    // As a futex does: it does not put anybody to sleep for whom the word is
    // not what it was any more.
    asleep_ = true;
    woken_ = world_.wakes(watched_.slot);
    if (world_.publication(watched_.slot).changes != watched_changes_) {
      phase_ = resume_;
    }
  }
  if (told || world_.wakes(watched_.slot) != woken_) phase_ = resume_;
}

void StreamReader::Finish(bool ok) {
  if (!ok) ++world_.totals().failed_streams;
  at_ = 0;
  phase_ = blocks_.empty() ? Phase::kIdle : Phase::kUnpin;
}

void StreamReader::Unpin() {
  Block& block = blocks_[at_];
  const uint32_t number = UseOf(block.word).first;
  // In place: what was whole stays so as long as the pin does.
  if (block.ok && !world_.Holds(group_, number, block.key, block.incarnation) &&
      world_.Stands(number, block.incarnation)) {
    world_.Fail(
        absl::StrCat("block ", number, " was whole and is not, under a pin"));
  }
  block.valid = false;
  pin(number).fetch_sub(1);
  if (++at_ == blocks_.size()) {
    blocks_.clear();
    phase_ = Phase::kIdle;
  }
}

void StreamReader::DoStep() {
  switch (phase_) {
    case Phase::kIdle:
      if (!winding_down_) Start();
      return;
    case Phase::kFind:
      Find();
      return;
    case Phase::kAux:
      blocks_.back().aux = world_.aux(blocks_.back().slot);
      phase_ = Phase::kPin;
      return;
    case Phase::kPin:
      pin(UnpackResidence(blocks_.back().word).block).fetch_add(1);
      phase_ = Phase::kValidate;
      return;
    case Phase::kValidate:
      Validate();
      return;
    case Phase::kLook:
      Look();
      return;
    case Phase::kWords:
      ReadWords();
      return;
    case Phase::kCopy:
      Copy();
      return;
    case Phase::kRecheck:
      Recheck();
      return;
    case Phase::kSleep:
      Sleep();
      return;
    case Phase::kUnpin:
      Unpin();
      return;
  }
}

}  // namespace kvferry::sim
