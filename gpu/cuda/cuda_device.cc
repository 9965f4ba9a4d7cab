#include "gpu/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status.h"
#include "gpu/cuda/copy_batch.h"
#include "gpu/cuda/cuda_event.h"
#include "gpu/cuda/cuda_host_registration.h"
#include "gpu/cuda/cuda_probe.h"
#include "gpu/cuda/cuda_scope.h"
#include "gpu/cuda/cuda_stream.h"
#include "gpu/cuda/ipc_import.h"
#include "gpu/cuda/malloc_memory.h"
#include "gpu/cuda/own_exports.h"
#include "gpu/cuda/vmm_memory.h"

namespace kvferry::gpu {
namespace {

// What a short wait spins before it sleeps: waking up costs about as much.
constexpr std::chrono::microseconds kSpin{20};

cudaStream_t Native(void* stream) { return static_cast<cudaStream_t>(stream); }

cudaEvent_t Native(const Event& event) {
  return static_cast<const CudaEvent&>(event).native();
}

// The device's default stream, by either of its names.
bool IsLegacy(void* stream) {
  return stream == nullptr || stream == cudaStreamLegacy;
}

absl::Status CheckBytes(uint64_t bytes) {
  if (bytes != 0) return absl::OkStatus();
  return absl::InvalidArgumentError("gpu: memory of 0 bytes");
}

// Plain host memory may be copied by the processor, whose fault a null address
// would be.
absl::Status CheckCopies(std::span<const Copy> copies) {
  for (const Copy& copy : copies) {
    if (copy.bytes != 0 && (copy.target == nullptr || copy.source == nullptr)) {
      return absl::InvalidArgumentError("gpu: a copy from or to null");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CudaDevice::Open(
    const CudaDriver& driver, int ordinal) {
  KVFERRY_ASSIGN_OR_RETURN(std::shared_ptr<CudaContext> context,
                           CudaContext::Retain(driver, ordinal));
  KVFERRY_ASSIGN_OR_RETURN(DeviceReport report, ProbeCuda(context.get()));
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<StridedCopier> copier,
                           StridedCopier::Create(context));
  return std::unique_ptr<Device>(
      new CudaDevice(std::move(context), std::move(copier), std::move(report)));
}

CudaDevice::CudaDevice(std::shared_ptr<CudaContext> context,
                       std::unique_ptr<StridedCopier> copier,
                       DeviceReport report)
    : context_(std::move(context)),
      copier_(std::move(copier)),
      report_(std::move(report)) {}

// --- memory ---

absl::Status CudaDevice::Lacks(const char* capability) const {
  if (report_.Has(capability)) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat("gpu: device ", context_->ordinal(), " has no ", capability,
                   ": ", report_.ReasonAgainst(capability)));
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> CudaDevice::Allocate(
    uint64_t bytes, ExportMode mode) {
  KVFERRY_RETURN_IF_ERROR(CheckBytes(bytes));
  absl::Status against_vmm = absl::OkStatus();
  if (mode != ExportMode::kIpc) {
    against_vmm = Lacks(kCapabilityVmm);
    if (against_vmm.ok()) {
      absl::StatusOr<std::unique_ptr<DeviceMemory>> memory =
          VmmMemory::Create(context_, bytes);
      // Memory that is not there, or a device that is gone, IPC has not either.
      if (memory.ok() || mode == ExportMode::kVmm ||
          absl::IsResourceExhausted(memory.status()) ||
          absl::IsUnavailable(memory.status())) {
        return memory;
      }
      against_vmm = memory.status();
    }
    if (mode == ExportMode::kVmm) return against_vmm;
  }
  absl::Status against_ipc = Lacks(kCapabilityIpc);
  if (against_ipc.ok()) {
    absl::StatusOr<std::unique_ptr<DeviceMemory>> memory =
        MallocMemory::Create(context_, bytes, /*exportable=*/true);
    if (memory.ok() || against_vmm.ok() ||
        !absl::IsUnimplemented(memory.status())) {
      return memory;
    }
    against_ipc = memory.status();
  }
  if (against_vmm.ok()) return against_ipc;
  return absl::UnimplementedError(
      absl::StrCat(against_vmm.message(), "; ", against_ipc.message()));
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> CudaDevice::AllocatePrivate(
    uint64_t bytes) {
  KVFERRY_RETURN_IF_ERROR(CheckBytes(bytes));
  return MallocMemory::Create(context_, bytes, /*exportable=*/false);
}

absl::StatusOr<std::unique_ptr<DeviceMemory>> CudaDevice::Import(
    const ExportedMemory& exported) {
  KVFERRY_RETURN_IF_ERROR(CheckBytes(exported.bytes));
  if (OwnExports::Contain(exported)) {
    return absl::FailedPreconditionError(
        "gpu: this process made the memory: it has the address already");
  }
  switch (exported.kind) {
    case ExportedMemory::Kind::kDescriptor:
      if (exported.fd.get() < 0) break;
      return VmmMemory::Import(context_, exported.fd.get(), exported.bytes);
    case ExportedMemory::Kind::kHandle:
      return IpcImport::Open(context_, exported.handle, exported.bytes);
    case ExportedMemory::Kind::kNone:
      break;
  }
  return absl::InvalidArgumentError(
      "gpu: exported memory without a descriptor or handle");
}

absl::StatusOr<std::unique_ptr<HostRegistration>> CudaDevice::RegisterHost(
    std::byte* address, uint64_t bytes, bool read_only) {
  KVFERRY_RETURN_IF_ERROR(CheckBytes(bytes));
  if (address == nullptr) {
    return absl::InvalidArgumentError("gpu: host memory at null");
  }
  if (read_only) KVFERRY_RETURN_IF_ERROR(Lacks(kCapabilityReadOnlyHost));
  return CudaHostRegistration::Create(context_, address, bytes, read_only);
}

// --- streams ---

absl::StatusOr<std::unique_ptr<Stream>> CudaDevice::CreateStream() {
  return CudaStream::Create(context_);
}

absl::StatusOr<std::unique_ptr<Event>> CudaDevice::CreateEvent() {
  return CudaEvent::Create(context_);
}

absl::Status CudaDevice::Record(Event* event, void* stream) {
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  return context_->Check(cudaEventRecord(Native(*event), Native(stream)),
                         "cudaEventRecord");
}

absl::Status CudaDevice::StreamWait(void* stream, const Event& event) {
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  return context_->Check(
      cudaStreamWaitEvent(Native(stream), Native(event), cudaEventWaitDefault),
      "cudaStreamWaitEvent");
}

absl::StatusOr<bool> CudaDevice::IsDone(const Event& event) {
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  const cudaError_t error = cudaEventQuery(Native(event));
  if (error == cudaErrorNotReady) {
    (void)cudaGetLastError();
    return false;
  }
  KVFERRY_RETURN_IF_ERROR(context_->Check(error, "cudaEventQuery"));
  return true;
}

absl::Status CudaDevice::Synchronize(const Event& event) {
  const auto until = std::chrono::steady_clock::now() + kSpin;
  do {
    KVFERRY_ASSIGN_OR_RETURN(const bool done, IsDone(event));
    if (done) return absl::OkStatus();
  } while (std::chrono::steady_clock::now() < until);
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  return context_->Check(cudaEventSynchronize(Native(event)),
                         "cudaEventSynchronize");
}

absl::StatusOr<bool> CudaDevice::IsCapturing(void* stream) {
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  const cudaError_t error = cudaStreamIsCapturing(Native(stream), &capture);
  if (error == cudaErrorStreamCaptureImplicit) {
    // The default stream while another that waits for it is being captured:
    // what it is given would have to become part of the graph.
    (void)cudaGetLastError();
    return true;
  }
  KVFERRY_RETURN_IF_ERROR(context_->Check(error, "cudaStreamIsCapturing"));
  return capture != cudaStreamCaptureStatusNone;
}

// --- work ---

absl::Status CudaDevice::CopyAsync(std::span<const Copy> copies, void* stream) {
  KVFERRY_RETURN_IF_ERROR(CheckCopies(copies));
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  // The batched call does not take the default stream, and gains nothing with
  // one copy.
  if (copies.size() > 1 && !IsLegacy(stream) && context_->batch_copies()) {
    size_t done = 0;
    KVFERRY_RETURN_IF_ERROR(CopyBatched(copies, stream, &done));
    copies = copies.subspan(done);
  }
  for (const Copy& copy : copies) {
    if (copy.bytes == 0) continue;
    KVFERRY_RETURN_IF_ERROR(
        context_->Check(cudaMemcpyAsync(copy.target, copy.source, copy.bytes,
                                        cudaMemcpyDefault, Native(stream)),
                        "cudaMemcpyAsync"));
  }
  return absl::OkStatus();
}

absl::Status CudaDevice::CopyBatched(std::span<const Copy> copies, void* stream,
                                     size_t* done) {
  cudaMemcpyAttributes attributes = {};
  attributes.srcAccessOrder = cudaMemcpySrcAccessOrderStream;
  attributes.flags = cudaMemcpyFlagPreferOverlapWithCompute;
  size_t first_with_attributes = 0;
  CopyBatch batch;
  *done = 0;
  while (*done < copies.size()) {
    const size_t taken = batch.Fill(copies.subspan(*done));
    if (batch.count() > 0) {
      const cudaError_t error = cudaMemcpyBatchAsync(
          batch.targets(), batch.sources(), batch.sizes(), batch.count(),
          &attributes, &first_with_attributes, 1, Native(stream));
      if (error == cudaErrorNotSupported ||
          error == cudaErrorCallRequiresNewerDriver) {
        // One by one, from here on for good.
        (void)cudaGetLastError();
        context_->DisableBatchCopies();
        return absl::OkStatus();
      }
      if (error == cudaErrorInvalidValue) {
        // The batch refuses memory that a copy by itself takes (plain host
        // memory on some systems), or one of them is wrong, which will then say
        // so. Nothing comes of it if some are queued twice.
        (void)cudaGetLastError();
        return absl::OkStatus();
      }
      KVFERRY_RETURN_IF_ERROR(context_->Check(error, "cudaMemcpyBatchAsync"));
    }
    *done += taken;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PreparedLayout>> CudaDevice::Prepare(
    EngineLayout layout) {
  KVFERRY_ASSIGN_OR_RETURN(TransferPlanner planner,
                           TransferPlanner::Create(layout));
  const std::span<const uint64_t> bases = planner.bases();
  KVFERRY_ASSIGN_OR_RETURN(std::unique_ptr<DeviceMemory> memory,
                           AllocatePrivate(bases.size_bytes()));
  KVFERRY_RETURN_IF_ERROR(Upload(memory->address(), bases));
  return std::make_unique<CudaPreparedLayout>(
      std::move(layout), std::move(planner), std::move(memory));
}

absl::Status CudaDevice::Upload(std::byte* target,
                                std::span<const uint64_t> words) {
  // On a stream of its own: cudaMemcpy would wait for the default stream's
  // work, and with that for most engines' all.
  KVFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream,
                           CreateStream());
  const CudaScope scope(context_.get());
  KVFERRY_RETURN_IF_ERROR(scope.status());
  KVFERRY_RETURN_IF_ERROR(context_->Check(
      cudaMemcpyAsync(target, words.data(), words.size_bytes(),
                      cudaMemcpyHostToDevice, Native(stream->native())),
      "cudaMemcpyAsync"));
  return context_->Check(cudaStreamSynchronize(Native(stream->native())),
                         "cudaStreamSynchronize");
}

absl::Status CudaDevice::Gather(const PreparedLayout& layout, LayerRange layers,
                                std::span<const PageTransfer> pages,
                                void* stream) {
  return copier_->Copy(static_cast<const CudaPreparedLayout&>(layout), layers,
                       pages, /*to_page=*/true, Native(stream));
}

absl::Status CudaDevice::Scatter(const PreparedLayout& layout,
                                 LayerRange layers,
                                 std::span<const PageTransfer> pages,
                                 void* stream) {
  return copier_->Copy(static_cast<const CudaPreparedLayout&>(layout), layers,
                       pages, /*to_page=*/false, Native(stream));
}

}  // namespace kvferry::gpu
