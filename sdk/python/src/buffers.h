#ifndef KVFERRY_SDK_PYTHON_SRC_BUFFERS_H_
#define KVFERRY_SDK_PYTHON_SRC_BUFFERS_H_

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "kvferry/kvferry.h"

namespace kvferry::python {

// An argument that has the buffer protocol.
class Buffer : public nanobind::object {
  NB_OBJECT(Buffer, nanobind::object, "collections.abc.Buffer",
            PyObject_CheckBuffer)
};

// Bytes of an object, held for its scope: they stay where they are while the
// GIL is given up.
// Errors  InvalidArgument  not C-contiguous, or read-only where it must not be
class BufferView {
 public:
  BufferView(nanobind::handle object, const char* what, int flags);
  ~BufferView() { PyBuffer_Release(&view_); }
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;

  const void* data() const { return view_.buf; }
  void* writable_data() const { return view_.buf; }
  size_t bytes() const { return static_cast<size_t>(view_.len); }
  kvf_bytes as_bytes() const { return {view_.buf, bytes()}; }
  const Py_buffer& view() const { return view_; }

 private:
  Py_buffer view_;
};

// Any bytes, to be read.
class ReadBytes : public BufferView {
 public:
  ReadBytes(nanobind::handle object, const char* what)
      : BufferView(object, what, PyBUF_SIMPLE) {}
};

// Packed keys, 16 bytes each.
// Errors  also InvalidArgument  a size that is no multiple of 16
class KeysView {
 public:
  explicit KeysView(const Buffer& object, const char* what = "keys");
  const kvf_key* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  ReadBytes bytes_;
  std::vector<kvf_key> aligned_;  // of keys that lie at an odd address
  const kvf_key* data_;
  size_t size_;
};

// One key or none.
class ParentKey {
 public:
  explicit ParentKey(const std::optional<Buffer>& object);
  const kvf_key* get() const { return key_.has_value() ? &*key_ : nullptr; }

 private:
  std::optional<kvf_key> key_;
};

// A buffer of integers of one of the given sizes, in this machine's order.
class IntegerView {
 public:
  // `accepted` is for the error's text.
  IntegerView(const Buffer& object, const char* what, size_t bytes_min,
              const char* accepted);
  const void* data() const { return bytes_.data(); }
  size_t size() const { return size_; }
  size_t item_bytes() const { return item_bytes_; }
  bool is_signed() const { return is_signed_; }

 private:
  BufferView bytes_;
  size_t size_;
  size_t item_bytes_;
  bool is_signed_;
};

// Tokens as 32-bit integers.
class TokensView {
 public:
  explicit TokensView(const Buffer& object);
  size_t size() const { return integers_.size(); }
  // Converts them when they are not what they must be. Wants no GIL.
  // Returns false when a value is no uint32: RaiseWrong() says which.
  bool Convert();
  [[noreturn]] void RaiseWrong() const;
  // REQUIRES  Convert() returned true
  const uint32_t* data() const { return data_; }

 private:
  IntegerView integers_;
  std::vector<uint32_t> converted_;
  const uint32_t* data_ = nullptr;
  size_t wrong_ = 0;
};

// Numbers of an engine's blocks. Kept as they are, -1 is KVF_NO_BLOCK.
class EngineBlocksView {
 public:
  explicit EngineBlocksView(const Buffer& object)
      : integers_(object, "engine_blocks", 8, "int64 or uint64") {}
  const uint64_t* data() const {
    return static_cast<const uint64_t*>(integers_.data());
  }
  size_t size() const { return integers_.size(); }

 private:
  IntegerView integers_;
};

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_BUFFERS_H_
