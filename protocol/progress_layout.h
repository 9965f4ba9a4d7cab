#ifndef KVFERRY_PROTOCOL_PROGRESS_LAYOUT_H_
#define KVFERRY_PROTOCOL_PROGRESS_LAYOUT_H_

#include <atomic>
#include <cstdint>

#include "protocol/limits.h"
#include "protocol/shm_layout.h"

// A session's `progress` file; the others are in shm_layout.h, whose version
// is this one's, too.
namespace kvferry::protocol {

// How far a writer is in its publications: one record an open handle, written
// by the client, read by everybody in the namespace (the memfd is sealed
// against writing as soon as the client has mapped it) and by the daemon.
//
// ProgressRecord::word:
//
//    63           32 31          12 11      0
//   | generation:32 | positions:20 | layers:12|
//
// `positions` counts the leading positions of the publication that this writer
// is done with: its slices of their blocks are written, or it has none to
// write there. It never passes a position that the writer gave up. Of the
// positions from there to `chunk_end`, the first `layers` layers of every page
// are written.
//
// INV-STREAM-1  Once every writer's word, under the generation of a slot's aux
//               word, has passed the slot's position, the block's bytes are
//               whole, and stay so while the slot says what it said.
//   Made by    the writer: payload, store fence, then the word (release).
//   Relied on  by sdk StreamView: acquire the word, copy, acquire fence, then
//              read the slot again; and by core when a writer died.
//   Kept by    the daemon: an aborted block leaves the index before it is
//              given to anybody, and rests while it is pinned (INV-PIN-1) or
//              its writer lives and has not let go (INV-PUB-3).
//   Tested     tests/model/stream.pml, tests/sim, tests/integration
inline constexpr uint32_t kProgressRecords = 255;  // kNoWriter is no record

struct Progress {
  uint32_t generation = 0;
  uint32_t positions = 0;
  uint32_t layers = 0;
  friend bool operator==(const Progress&, const Progress&) = default;
};
inline constexpr uint32_t kProgressLayersMax = (1u << 12) - 1;
constexpr uint64_t PackProgress(Progress p) {
  return uint64_t{p.generation} << 32 | uint64_t{p.positions} << 12 | p.layers;
}
constexpr Progress UnpackProgress(uint64_t word) {
  return {static_cast<uint32_t>(word >> 32),
          static_cast<uint32_t>(word >> 12 & 0xf'ffff),
          static_cast<uint32_t>(word & kProgressLayersMax)};
}

struct alignas(64) ProgressRecord {
  std::atomic<uint64_t> word;  // Progress
  // Position at which the chunk ends whose layers are counted. Stored before
  // the first word with layers, and not changed before `positions` has come
  // there: read word, chunk_end, word.
  std::atomic<uint32_t> chunk_end;
  // Bumped after every store above, and its waiters woken. A futex word.
  std::atomic<uint32_t> changes;
  // The generation that this writer has given up (it aborted, or it lost its
  // daemon): what its word has not passed never comes.
  std::atomic<uint32_t> given_up;
  // Size of the hand-over data, stored after them; 0: none (yet). Both belong
  // to the word's generation.
  std::atomic<uint32_t> hand_over_bytes;
  uint8_t reserved[40];
};
static_assert(sizeof(ProgressRecord) == 64);

struct ProgressHeader {
  uint64_t magic;
  std::atomic<uint32_t> layout_version;  // stored last, by the daemon
  uint32_t session;
  uint64_t epoch;
};
static_assert(sizeof(ProgressHeader) <= kHeaderBytes);

inline constexpr uint64_t kProgressRecordsOffset = kHeaderBytes;
inline constexpr uint64_t kHandOverOffset =
    kProgressRecordsOffset + (kProgressRecords + 1) * sizeof(ProgressRecord);
static_assert(kHandOverOffset % kHeaderBytes == 0);
inline constexpr uint64_t kProgressFileBytes =
    kHandOverOffset + uint64_t{kProgressRecords} * kHandOverBytesMax;
static_assert(kProgressFileBytes % kHeaderBytes == 0);

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_PROGRESS_LAYOUT_H_
