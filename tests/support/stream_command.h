#ifndef KVFERRY_TESTS_SUPPORT_STREAM_COMMAND_H_
#define KVFERRY_TESTS_SUPPORT_STREAM_COMMAND_H_

#include <cstdint>
#include <type_traits>

namespace kvferry::test {

// What a StreamPeer and its process tell each other: one command a packet, one
// reply each, as they lie in memory (both are the same build).
enum class StreamVerb : uint32_t {
  kOpen,
  kBegin,
  kWrite,     // layers [layer, layer + layers) of [first, first + count)
  kScribble,  // over the pages that [first, first + count) once had
  kCommitLayers,
  kCommit,
  kCommitAndWait,
  kSetHandOver,
  kAbort,
  kClose,
  kOutcome,  // of position `first`
  kMint,
  kMatch,
  kWaitChunk,  // without end, unless the stream fails
  kBreakRing,  // does what the daemon revokes a session for
};

struct StreamCommand {
  StreamVerb verb = StreamVerb::kOpen;
  uint32_t first = 0;
  uint32_t count = 0;
  uint32_t layer = 0;
  uint32_t layers = 0;
  uint32_t tail_tokens = 0;
  // Numbers of keys (NumberedKey); `parent` one higher, 0: none.
  uint64_t key = 0;
  uint64_t parent = 0;
  // kOpen
  uint64_t engine_instance = 0;
  uint64_t publication = 0;
  uint32_t slice_first = 0;
  uint32_t slice_count = 0;
  int64_t stall_ms = 0;
  uint32_t standby = 0;
  // kMint
  uint32_t consumers = 0;
  // Of kSetHandOver and kMint.
  uint32_t text_bytes = 0;
  char text[4096] = {};
};
static_assert(std::is_trivially_copyable_v<StreamCommand>);

struct StreamReply {
  int32_t code = 0;  // absl::StatusCode
  uint32_t value = 0;
  uint32_t text_bytes = 0;
  char text[4096] = {};  // an error's message, a ticket
};
static_assert(std::is_trivially_copyable_v<StreamReply>);

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_STREAM_COMMAND_H_
