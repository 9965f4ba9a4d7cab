#ifndef KVFERRY_GPU_DEVICE_H_
#define KVFERRY_GPU_DEVICE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "gpu/engine_layout.h"

// One GPU as KVFerry's own processes (kvferry-gpu) and engines' (the SDK) use
// it. Two implementations: CUDA (gpu/cuda), and an emulated one whose memory is
// the host's (gpu/emulated), for tests and machines without a GPU.
namespace kvferry::gpu {

enum class DeviceKind : uint8_t { kCuda = 0, kEmulated = 1 };

// The device's own, whatever CUDA_VISIBLE_DEVICES makes of its ordinal.
using Uuid = std::array<uint8_t, 16>;
// "GPU-8-4-4-4-12 hex digits" as nvidia-smi prints it; "emulated:N".
std::string UuidToString(DeviceKind kind, const Uuid& uuid);
// The other way round, letters of either case.
// Errors  kInvalidArgument  neither of the two
absl::StatusOr<Uuid> UuidFromString(absl::string_view name);

// Something a device may lack, and why it does.
struct Capability {
  std::string name;  // kIpc, kVmm, ... below
  bool available = false;
  std::string reason;  // when it is not
};
inline constexpr char kCapabilityIpc[] = "ipc";  // cudaIpcGetMemHandle
inline constexpr char kCapabilityVmm[] = "vmm";  // POSIX descriptors
inline constexpr char kCapabilityWholeGpu[] = "whole-gpu";  // not a MIG slice
// Several processes may use it at once.
inline constexpr char kCapabilityShared[] = "shared-compute-mode";
inline constexpr char kCapabilityPeer[] = "peer-access";
inline constexpr char kCapabilityReadOnlyHost[] = "read-only-host-registration";
inline constexpr char kCapabilityBatchCopy[] = "batched-copies";

struct DeviceReport {
  DeviceKind kind = DeviceKind::kCuda;
  Uuid uuid{};
  std::string name;
  uint32_t ordinal = 0;  // in this process
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
  uint32_t driver_version = 0;  // as CUDA: 13000 is 13.0; 0: emulated
  uint32_t runtime_version = 0;
  std::vector<Capability> capabilities;

  bool Has(absl::string_view capability) const;
  // Empty when it is there; "unknown" for a name that is not listed.
  std::string ReasonAgainst(absl::string_view capability) const;
};

// How memory is passed on to other processes.
enum class ExportMode : uint8_t { kAuto = 0, kVmm = 1, kIpc = 2 };

struct ExportedMemory {
  enum class Kind : uint8_t { kNone = 0, kDescriptor = 1, kHandle = 2 };
  Kind kind = Kind::kNone;
  UniqueFd fd;                  // kDescriptor
  std::vector<uint8_t> handle;  // kHandle
  uint64_t bytes = 0;
  int owner_pid = 0;  // who made it: that process must not import it
};

// Device memory of this process's own, or another's that was imported. Ends
// with the object: no work that touches it may be under way then.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  std::byte* address() const { return address_; }
  uint64_t bytes() const { return bytes_; }
  // Errors  kFailedPrecondition  it was imported, or made without an export
  virtual absl::StatusOr<ExportedMemory> Export() const = 0;

 protected:
  std::byte* address_ = nullptr;
  uint64_t bytes_ = 0;
};

// Host memory that the device reads and writes by itself, until the object
// ends. The memory stays its owner's.
class HostRegistration {
 public:
  virtual ~HostRegistration() = default;
  // Where the device sees the first byte.
  std::byte* device_address() const { return device_address_; }

 protected:
  std::byte* device_address_ = nullptr;
};

// A queue of work of our own. `native` is what functions below take (a
// cudaStream_t), as an engine's own streams are given, too.
class Stream {
 public:
  virtual ~Stream() = default;  // waits until it is empty
  void* native() const { return native_; }

 protected:
  void* native_ = nullptr;
};

// A point in a stream. Reusable: the last Record counts.
class Event {
 public:
  virtual ~Event() = default;
};

// `target` and `source` are device addresses, or host addresses as the device
// sees them (HostRegistration::device_address), or plain host memory (then the
// copy may be slow and wait).
struct Copy {
  std::byte* target = nullptr;
  const std::byte* source = nullptr;
  uint64_t bytes = 0;
};

// Errors of every call: kUnavailable with the device's own words once the
// device or its context is broken (nothing of it works in this process any
// more), kResourceExhausted for memory, kInvalidArgument for arguments.
//
// Threads  any number at once; each call makes the device current for its
//          thread and leaves the thread's own current device as it was
// Never    synchronises the whole device, or calls into a forked child
class Device {
 public:
  virtual ~Device() = default;

  virtual const DeviceReport& report() const = 0;

  // --- memory ---

  // Memory that others may import as `mode` says; kAuto takes VMM where the
  // device has it, else IPC.
  // Errors  also kUnimplemented  the device has no such export; why
  virtual absl::StatusOr<std::unique_ptr<DeviceMemory>> Allocate(
      uint64_t bytes, ExportMode mode) = 0;
  // Memory of this process alone.
  virtual absl::StatusOr<std::unique_ptr<DeviceMemory>> AllocatePrivate(
      uint64_t bytes) = 0;
  // Another process's memory. The same memory twice gives two objects.
  // Errors  kFailedPrecondition  this process made it: use it as it is
  virtual absl::StatusOr<std::unique_ptr<DeviceMemory>> Import(
      const ExportedMemory& exported) = 0;
  // Blocking  a few ms a GiB
  virtual absl::StatusOr<std::unique_ptr<HostRegistration>> RegisterHost(
      std::byte* address, uint64_t bytes, bool read_only) = 0;

  // --- streams ---

  virtual absl::StatusOr<std::unique_ptr<Stream>> CreateStream() = 0;
  virtual absl::StatusOr<std::unique_ptr<Event>> CreateEvent() = 0;
  virtual absl::Status Record(Event* event, void* stream) = 0;
  // What `stream` gets from here on begins after the event's point.
  virtual absl::Status StreamWait(void* stream, const Event& event) = 0;
  // Whether everything before the event's point is done; an event that was
  // never recorded is.
  // Errors  what went wrong on the device before that point
  virtual absl::StatusOr<bool> IsDone(const Event& event) = 0;
  // Blocking
  virtual absl::Status Synchronize(const Event& event) = 0;
  // Whether the stream's calls are being recorded for a graph: ours must not
  // be among them.
  virtual absl::StatusOr<bool> IsCapturing(void* stream) = 0;

  // --- work ---

  // Queues copies, in no order among themselves.
  virtual absl::Status CopyAsync(std::span<const Copy> copies,
                                 void* stream) = 0;

  // Prepares an engine's paged tensors for Gather and Scatter.
  // Errors  kInvalidArgument  a layout that EngineLayout::Check refuses
  virtual absl::StatusOr<std::unique_ptr<PreparedLayout>> Prepare(
      EngineLayout layout) = 0;
  // Queues the strided copies of many blocks, engine to pages (gather) or pages
  // to engine (scatter), in one launch. The span is copied before it returns;
  // the prepared layout and what it describes outlive the work.
  // Errors  kInvalidArgument  a block, slice, or layers that are not there
  virtual absl::Status Gather(const PreparedLayout& layout, LayerRange layers,
                              std::span<const PageTransfer> pages,
                              void* stream) = 0;
  virtual absl::Status Scatter(const PreparedLayout& layout, LayerRange layers,
                               std::span<const PageTransfer> pages,
                               void* stream) = 0;
};

// --- opening -------------------------------------------------------------

// Whether this build has CUDA in it at all.
bool BuiltWithCuda();

// A device of this process: by ordinal (-1: the thread's current one), or by
// UUID. Uses the primary context, which engines and their frameworks use, too.
// Errors  kUnimplemented  built without CUDA
//         kUnavailable    no driver, too old a one (both versions named), no
//                         device
//         kNotFound       no such ordinal, or UUID; those that are there
absl::StatusOr<std::unique_ptr<Device>> OpenCuda(int ordinal);
absl::StatusOr<std::unique_ptr<Device>> OpenCuda(const Uuid& uuid);

struct EmulatedOptions {
  uint32_t number = 0;  // "emulated:N"
  uint64_t total_bytes = uint64_t{1} << 30;
  // Where memory that is exported by handle has its files; empty: it can be
  // exported by descriptor only.
  std::string directory;
  // Of each piece of work, before it is done: for tests of what may happen
  // meanwhile.
  uint32_t delay_us = 0;
  // Capabilities that it is to lack, by name.
  std::vector<std::string> missing;
};
// Devices of one number in one process are one device, as those of CUDA are:
// they share streams, memory and its bound, and break together.
// Errors  kInvalidArgument  a capability that is not known
//         as ErrnoStatus    the directory
absl::StatusOr<std::unique_ptr<Device>> OpenEmulated(
    const EmulatedOptions& options);
Uuid EmulatedUuid(uint32_t number);

// "GPU-...", "emulated:N", an ordinal in decimal, or "": the calling thread's
// current CUDA device. What the emulated device takes besides its number comes
// from `emulated`.
// Errors  kInvalidArgument  none of these; as above
absl::StatusOr<std::unique_ptr<Device>> OpenDevice(
    absl::string_view name, const EmulatedOptions& emulated = {});

}  // namespace kvferry::gpu

#endif  // KVFERRY_GPU_DEVICE_H_
