#ifndef KVFERRY_DAEMON_GPU_MEMORY_TABLE_H_
#define KVFERRY_DAEMON_GPU_MEMORY_TABLE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "base/mapping.h"
#include "base/unique_fd.h"
#include "gpu/device.h"
#include "protocol/worker_ring.h"

namespace kvferry::gpu_worker {

// What a worker process copies between: the pools that it made in its device's
// memory, and the host segments that it was given. Ids are the daemon's.
//
// Threads  one at a time
class MemoryTable {
 public:
  // The device outlives it.
  explicit MemoryTable(gpu::Device* device) : device_(*device) {}

  // Allocates a pool that others can import.
  // Errors  kAlreadyExists      the id is in use
  //         kUnimplemented      the device cannot export memory that way
  //         kResourceExhausted  no memory
  absl::StatusOr<gpu::ExportedMemory> MakePool(uint64_t pool_id, uint64_t bytes,
                                               gpu::ExportMode mode);
  // REQUIRES: no copy from or to it is under way
  void DropPool(uint64_t pool_id) { pools_.erase(pool_id); }

  // What became of a segment.
  struct AddedSegment {
    bool registered = false;
    std::string note;  // why not; its copies may then be slow
  };
  // Maps a segment and registers it with the device.
  // Errors  kAlreadyExists  the id is in use
  //         as Mapping::Map
  absl::StatusOr<AddedSegment> AddSegment(uint64_t segment_id, uint64_t bytes,
                                          UniqueFd fd);

  // The addresses of a command, which may say anything.
  // Errors  kInvalidArgument  of unknown type, or out of its memory's bounds
  //         kNotFound         no such pool or segment
  absl::StatusOr<gpu::Copy> Resolve(
      const protocol::WorkerCommand& command) const;

 private:
  struct Segment {
    Mapping mapping;
    // Ends before the mapping. Null: not registered.
    std::unique_ptr<gpu::HostRegistration> registration;

    // As the device sees it.
    std::byte* address() const {
      return registration != nullptr ? registration->device_address()
                                     : mapping.data();
    }
  };

  gpu::Device& device_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<gpu::DeviceMemory>> pools_;
  absl::flat_hash_map<uint64_t, Segment> segments_;
};

}  // namespace kvferry::gpu_worker

#endif  // KVFERRY_DAEMON_GPU_MEMORY_TABLE_H_
