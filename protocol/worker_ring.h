#ifndef KVFERRY_PROTOCOL_WORKER_RING_H_
#define KVFERRY_PROTOCOL_WORKER_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

// The rings between kvferryd and a worker process: one file (a memfd), made by
// the daemon anew for each worker. Single producer, single consumer each, as
// the sessions' rings (shm_layout.h). Both sides copy a record, check it, then
// use it: a worker that runs wild must not take the daemon with it.
namespace kvferry::protocol {

inline constexpr uint64_t kWorkerMagic = 0x4b52'4f57'5246'564b;  // "KVFRWORK"
inline constexpr uint32_t kWorkerProtocolVersion = 1;
// Copies under way at once; the daemon keeps further ones to itself.
inline constexpr uint32_t kWorkerRingRecords = 1024;
static_assert((kWorkerRingRecords & (kWorkerRingRecords - 1)) == 0);

enum class WorkerCommandType : uint32_t {
  kCopyToHost = 1,
  kCopyToDevice = 2,
};

// One block: `bytes` between a pool's and a segment's memory. Both ids are
// those of MakePool and AddSegment (worker.fbs).
struct WorkerCommand {
  WorkerCommandType type;
  uint32_t reserved0;
  uint64_t id;  // the daemon's, repeated in the completion
  uint64_t pool_id;
  uint64_t pool_offset;
  uint64_t segment_id;
  uint64_t segment_offset;
  uint64_t bytes;
  uint64_t reserved1;
};
static_assert(sizeof(WorkerCommand) == 64);

// Completions may come in another order than commands.
struct WorkerCompletion {
  uint64_t id;
  uint32_t ok;     // 1: the bytes are there, as the other side's reader sees it
  uint32_t error;  // the device's own code, for the log
  uint64_t device_ns;  // from its start to its end, as far as known; else 0
  uint64_t reserved;
};
static_assert(sizeof(WorkerCompletion) == 32);

// Words on lines of their own, named by who stores them.
//
// `*_asleep` is 1 while that side sleeps and wants its doorbell rung: it stores
// 1, fences, looks at its ring again; the other stores its tail, fences, reads
// the word.
struct WorkerRingHeader {
  uint64_t magic;
  std::atomic<uint32_t> version;  // stored last, by the daemon
  uint32_t reserved0;
  // daemon
  alignas(64) std::atomic<uint64_t> command_tail;
  std::atomic<uint64_t> completion_consumed;
  std::atomic<uint32_t> daemon_asleep;
  // worker
  alignas(64) std::atomic<uint64_t> command_consumed;
  std::atomic<uint64_t> completion_tail;
  std::atomic<uint32_t> worker_asleep;
};
inline constexpr uint64_t kWorkerHeaderBytes = 4096;
static_assert(sizeof(WorkerRingHeader) <= kWorkerHeaderBytes);
static_assert(offsetof(WorkerRingHeader, command_tail) == 64);
static_assert(offsetof(WorkerRingHeader, command_consumed) == 128);

inline constexpr uint64_t kWorkerCommandsOffset = kWorkerHeaderBytes;
inline constexpr uint64_t kWorkerCompletionsOffset =
    kWorkerCommandsOffset + kWorkerRingRecords * sizeof(WorkerCommand);
inline constexpr uint64_t kWorkerRingFileBytes =
    kWorkerCompletionsOffset + kWorkerRingRecords * sizeof(WorkerCompletion);

}  // namespace kvferry::protocol

#endif  // KVFERRY_PROTOCOL_WORKER_RING_H_
