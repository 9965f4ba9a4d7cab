#include "sdk/python/src/dlpack.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "sdk/python/src/numbers.h"

namespace kvferry::python {
namespace {

namespace nb = nanobind;

// The binary interface of DLPack 1.0 (dlpack.h), as far as it is used here.
constexpr int32_t kDeviceCpu = 1;
constexpr uint8_t kTypeUint = 1;
constexpr uint64_t kFlagReadOnly = 1;
constexpr uint64_t kFlagCopied = 2;
constexpr int64_t kMajorVersion = 1;

struct DlDevice {
  int32_t device_type;
  int32_t device_id;
};
struct DlDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct DlTensor {
  void* data;
  DlDevice device;
  int32_t ndim;
  DlDataType dtype;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
// Before version 1.0.
struct DlManagedTensor {
  DlTensor tensor;
  void* manager_context;
  void (*deleter)(DlManagedTensor* self);
};
struct DlManagedTensorVersioned {
  uint32_t major;
  uint32_t minor;
  void* manager_context;
  void (*deleter)(DlManagedTensorVersioned* self);
  uint64_t flags;
  DlTensor tensor;
};
static_assert(sizeof(DlTensor) == 48);
static_assert(offsetof(DlManagedTensor, deleter) == 56);
static_assert(offsetof(DlManagedTensorVersioned, tensor) == 32);

// Names of capsules; a consumer changes the name when it takes the tensor over.
constexpr char kLegacyName[] = "dltensor";
constexpr char kVersionedName[] = "dltensor_versioned";

// A tensor with all that it points to. Alignment of a copy is DLPack's.
constexpr size_t kCopyAlignment = 256;
struct AlignedDelete {
  void operator()(std::byte* bytes) const {
    ::operator delete (bytes, std::align_val_t{kCopyAlignment});
  }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

template <typename Managed>
struct Export {
  explicit Export(const PageView& view) : page(view) {}

  const PageView page;
  AlignedBytes copy;
  int64_t shape = 0;
  int64_t stride = 1;
  Managed managed{};
};

template <typename Managed>
void Delete(Managed* managed) {
  delete static_cast<Export<Managed>*>(managed->manager_context);
}

template <typename Managed>
void DeleteCapsule(PyObject* capsule, const char* name) {
  if (!PyCapsule_IsValid(capsule, name)) return;  // taken over
  auto* const managed =
      static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  managed->deleter(managed);
}

template <typename Managed>
std::unique_ptr<Export<Managed>> MakeExport(const PageView& page, bool copied) {
  auto result = std::make_unique<Export<Managed>>(page);
  result->shape = static_cast<int64_t>(page.bytes());
  void* data = page.data();
  if (copied) {
    result->copy.reset(static_cast<std::byte*>(
        ::operator new (page.bytes(), std::align_val_t{kCopyAlignment})));
    data = result->copy.get();
    std::memcpy(data, page.data(), page.bytes());
  }
  result->managed.tensor = {.data = data,
                            .device = {kDeviceCpu, 0},
                            .ndim = 1,
                            .dtype = {kTypeUint, 8, 1},
                            .shape = &result->shape,
                            .strides = &result->stride,
                            .byte_offset = 0};
  result->managed.manager_context = result.get();
  result->managed.deleter = &Delete<Managed>;
  return result;
}

template <typename Managed>
nb::object MakeCapsule(std::unique_ptr<Export<Managed>> tensor,
                       const char* name, PyCapsule_Destructor destructor) {
  PyObject* const capsule = PyCapsule_New(&tensor->managed, name, destructor);
  if (capsule == nullptr) throw nb::python_error();
  (void)tensor.release();
  return nb::steal(capsule);
}

bool IsCpu(nb::handle device) {
  if (!nb::isinstance<nb::tuple>(device) || nb::len(device) != 2) return false;
  const nb::tuple pair = nb::borrow<nb::tuple>(device);
  return Integer(pair[0]) == kDeviceCpu && Integer(pair[1]) == 0;
}

}  // namespace

nb::object ToDlpack(const PageView& page, nb::handle stream,
                    nb::handle max_version, nb::handle dl_device,
                    nb::handle copy) {
  page.CheckMapped();
  // -1: the consumer does not want to be waited for.
  if (!stream.is_none() && !stream.equal(nb::int_(-1))) {
    throw nb::value_error("__dlpack__: host memory has no stream");
  }
  if (!dl_device.is_none() && !IsCpu(dl_device)) {
    throw nb::buffer_error(
        "__dlpack__: pages are in host memory, device (1, 0)");
  }
  const bool copied = !copy.is_none() && PyObject_IsTrue(copy.ptr()) == 1;
  const bool versioned = !max_version.is_none() &&
                         Integer(max_version[nb::int_(0)]) >= kMajorVersion;
  if (versioned) {
    auto tensor = MakeExport<DlManagedTensorVersioned>(page, copied);
    tensor->managed.major = kMajorVersion;
    tensor->managed.minor = 0;
    tensor->managed.flags = copied             ? kFlagCopied
                            : page.read_only() ? kFlagReadOnly
                                               : 0;
    return MakeCapsule(
        std::move(tensor), kVersionedName, [](PyObject* capsule) {
          DeleteCapsule<DlManagedTensorVersioned>(capsule, kVersionedName);
        });
  }
  if (page.read_only() && !copied) {
    throw nb::buffer_error(
        "__dlpack__: the page is read-only, which DLPack before version 1.0 "
        "cannot say; ask with max_version=(1, 0) or copy=True");
  }
  return MakeCapsule(MakeExport<DlManagedTensor>(page, copied), kLegacyName,
                     [](PyObject* capsule) {
                       DeleteCapsule<DlManagedTensor>(capsule, kLegacyName);
                     });
}

nb::tuple DlpackDevice(const PageView&) {
  return nb::make_tuple(kDeviceCpu, 0);
}

}  // namespace kvferry::python
