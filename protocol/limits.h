#ifndef KVFERRY_PROTOCOL_LIMITS_H_
#define KVFERRY_PROTOCOL_LIMITS_H_

#include <cstdint>

// Every bound that daemon and SDK share, each with its reason. A number that
// follows from others is computed here and its relation asserted.
namespace kvferry::protocol {

// --- Namespaces ----------------------------------------------------------

// A node serves a handful of models; 64 leaves room for revisions side by
// side and bounds what `namespaces` has to list.
inline constexpr uint32_t kNamespacesMax = 64;
// One per worker process of every engine of a namespace: 8 engines of 32.
inline constexpr uint32_t kSessionsPerNamespaceMax = 256;
inline constexpr uint32_t kNamespaceNameBytesMax = 128;
// Model, revision and dtype strings of a specification.
inline constexpr uint32_t kSpecStringBytesMax = 256;
// Full attention, sliding window, recurrent state, indexer, and room.
inline constexpr uint32_t kGroupsMax = 16;
// A slice set is one 64-bit word: tensor-parallel 8 x pipeline 8.
inline constexpr uint32_t kSlicesMax = 64;
inline constexpr uint32_t kGroupNameBytesMax = 32;

// --- Blocks --------------------------------------------------------------

// The page size of the host and the unit of O_DIRECT.
inline constexpr uint64_t kBlockAlignment = 4096;
inline constexpr uint64_t kBlockBytesMin = 4096;
// 256 tokens of a 70B model are 80 MiB; 256 MiB leaves room.
inline constexpr uint64_t kBlockBytesMax = uint64_t{256} << 20;
inline constexpr uint32_t kBlockTokensMax = 65536;
// GPUs of a node times the groups that have blocks there: 8 x 4. One page holds
// their records beside the groups'.
inline constexpr uint32_t kGpuPoolsMax = 32;
// GPUs of one node that one daemon serves.
inline constexpr uint32_t kGpuDevicesMax = 16;
// Blocks that a client which uses a GPU was writing rest so long after its
// exit: what its device still had to do is over by then.
inline constexpr uint32_t kGpuRestMs = 2000;
// Block numbers are 28 bits wide in a residence word.
inline constexpr uint32_t kBlocksMax = (uint32_t{1} << 28) - 1;
// io_uring registers at most 1 GiB a buffer; a block never straddles two.
inline constexpr uint64_t kSegmentBytesMax = uint64_t{1} << 30;
static_assert(kBlockBytesMax <= kSegmentBytesMax);

// --- Pins ----------------------------------------------------------------

// A pin cell is a uint16_t. A thread that sees this many undoes its pin; the
// 4,096 counts above it are for threads between the add and the undo.
inline constexpr uint16_t kPinsPerBlockMax = 61440;

// --- Calls ---------------------------------------------------------------

// 16-token blocks of a 256 k-token prompt.
inline constexpr uint32_t kKeysPerCallMax = 16384;
// Blocks of one `begin` run in the submission ring: a quarter of it, so that
// two runs and their commits fit while the daemon works on a third.
inline constexpr uint32_t kBlocksPerRunMax = 1024;
inline constexpr uint32_t kPublicationsPerSessionMax = 4096;
// Blocks one publication may hold: a 1 M-token sequence of 16-token blocks.
inline constexpr uint32_t kBlocksPerPublicationMax = 65536;
// Blocks that a session's open publications remember, together: 48 bytes each
// in the daemon, 12 MiB a session at most.
inline constexpr uint32_t kEntriesPerSessionMax = 262144;
// A session writes at most this share of a group's blocks at once.
inline constexpr uint32_t kInFlightShare = 2;
// How long a publication that nobody has open waits for its other slices.
inline constexpr uint32_t kPublicationLingerMs = 10 * 1000;
// How long a writer may make no progress before the daemon gives its
// publication up: ample for a chunk of a large model; and the least and most
// that a writer may ask for.
inline constexpr uint32_t kStallMsDefault = 30 * 1000;
inline constexpr uint32_t kStallMsMin = 100;
inline constexpr uint32_t kStallMsMax = 600 * 1000;
// Standby blocks of one key: the third engine with the same prompt at the same
// moment waits instead.
inline constexpr uint32_t kStandbysPerKeyMax = 2;
// What travels with a hand-over beside KV: first token, sampler state, a few
// log-probabilities.
inline constexpr uint32_t kHandOverBytesMax = 4096;

// --- Rings ---------------------------------------------------------------

inline constexpr uint32_t kRingRecords = 4096;
static_assert((kRingRecords & (kRingRecords - 1)) == 0, "indices are masked");
static_assert(kBlocksPerRunMax * 4 <= kRingRecords);
inline constexpr uint32_t kTouchRecords = 1024;
static_assert((kTouchRecords & (kTouchRecords - 1)) == 0);

// --- Grants --------------------------------------------------------------

// A session holds at most quota / kGrantShare blocks ahead of use (1 %).
inline constexpr uint32_t kGrantShare = 100;
inline constexpr uint32_t kGrantBlocksMax = 4096;

// --- Control socket ------------------------------------------------------

inline constexpr uint32_t kMessageBytesMax = 64 * 1024;
inline constexpr uint32_t kOutboxBytesMax = 256 * 1024;
// SCM_RIGHTS carries at most 253; a segment announcement carries one each.
inline constexpr uint32_t kFdsPerMessageMax = 16;
// FlatBuffers verifier: our deepest message is 4 tables deep.
inline constexpr uint32_t kFlatbufferDepthMax = 8;
inline constexpr uint32_t kFlatbufferTablesMax = 256;
inline constexpr uint32_t kConnectionsMax = 1024;
inline constexpr uint32_t kConnectionsPerUserMax = 512;
inline constexpr uint32_t kHandshakeDeadlineMs = 2000;

// --- Tickets -------------------------------------------------------------

inline constexpr uint32_t kTicketBytesMax = 256;
inline constexpr uint32_t kTicketsPerNamespaceMax = 65536;
inline constexpr uint32_t kTicketConsumersMax = 1024;
inline constexpr uint32_t kTicketTtlMsMax = 600 * 1000;
// Keys of a lease sent in one message: 16 bytes each, well under the cap. A
// longer ticket is made and read in several.
inline constexpr uint32_t kKeysPerMessageMax = 2048;
static_assert(kKeysPerMessageMax * 16 < kMessageBytesMax);

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_LIMITS_H_
