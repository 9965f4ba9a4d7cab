#ifndef KVFERRY_TESTS_SIM_STREAM_READER_H_
#define KVFERRY_TESTS_SIM_STREAM_READER_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "tests/sim/client.h"

namespace kvferry::sim {

// Follows a chain while it is written: pins what is there and what is pending,
// waits for the writers' words, copies page by page, looks at the slot again,
// and only then believes what it copied. It sleeps between looks and does not
// wake by itself: a change that nobody tells leaves it asleep for ever, which
// World::Rest finds.
class StreamReader : public Client {
 public:
  using Client::Client;
  bool idle() const override { return phase_ == Phase::kIdle; }
  std::vector<BlockUse> validated() const override;
  std::vector<BlockUse> followed() const override;
  std::vector<BlockUse> promised() const override;

 protected:
  void DoStep() override;

 private:
  enum class Phase {
    kIdle,
    kFind,
    kAux,
    kPin,
    kValidate,
    kLook,
    kWords,
    kCopy,
    kRecheck,
    kSleep,
    kUnpin,
  };
  struct Block {
    BlockKey key;
    uint32_t slot = 0;  // bucket * 8 + slot
    uint64_t word = 0;  // residence when it was found
    uint64_t aux = 0;
    bool in_gpu = false;
    uint32_t incarnation = 1;  // of the memory that it reads
    bool pending = false;      // when it was found
    bool valid = false;
    bool layered = false;  // its first layer was read while it was written
    bool ok = false;
    bool passed = false;  // by every writer's word, under the aux generation
    // Of a passed block: the namespace's when its slot was seen to stand.
    uint64_t content_epoch = 0;
  };
  enum class Standing { kGone, kPending, kReady };
  enum class Told { kNothing, kLayer, kWhole, kNever };
  struct Writer {
    protocol::WriterRef ref;
    std::shared_ptr<FakeFile> file;
    uint32_t changes = 0;
  };

  void Start();
  void Find();
  void Missing();
  void Validate();
  void Look();
  void ReadWords();
  Told Ask(const Block& block);
  Told AskOne(const Block& block, const Writer& writer);
  void Copy();
  void Recheck();
  void Sleep();
  void Finish(bool ok);
  void Unpin();
  Standing Stands(const Block& block) const;
  // Remembers what is to be waited for, before it is looked at.
  void Watch(protocol::PublicationRef publication);
  void WatchWriters(protocol::PublicationRef publication);
  std::shared_ptr<FakeFile> FileOf(uint8_t number);
  uint32_t slices() const {
    return world_.geometry().groups[group_].slice_count;
  }

  Phase phase_ = Phase::kIdle;
  Phase resume_ = Phase::kIdle;  // after kSleep
  uint32_t group_ = 0;
  std::vector<BlockKey> keys_;
  std::vector<Block> blocks_;
  size_t ok_ = 0;
  size_t at_ = 0;
  // The publication that brings keys that are not there yet.
  protocol::PublicationRef follow_;
  bool hinted_ = false;
  bool ended_seen_ = false;
  bool awaited_ = false;
  // What is being waited for.
  protocol::PublicationRef watched_;
  uint32_t watched_changes_ = 0;
  std::vector<Writer> writers_;
  bool writers_missing_ = false;
  bool polls_ = false;  // nothing tells when it may go on
  bool asleep_ = false;
  uint64_t woken_ = 0;
  Told told_ = Told::kNothing;
  std::vector<uint64_t> copy_;  // layer by layer, slices each
  std::map<uint8_t, std::shared_ptr<FakeFile>> files_;
};

}  // namespace kvferry::sim

#endif  // KVFERRY_TESTS_SIM_STREAM_READER_H_
