#ifndef KVFERRY_SDK_PYTHON_SRC_STREAM_H_
#define KVFERRY_SDK_PYTHON_SRC_STREAM_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "kvferry/kvferry.h"
#include "sdk/python/src/buffers.h"
#include "sdk/python/src/client.h"
#include "sdk/python/src/exclusive.h"
#include "sdk/python/src/page.h"
#include "sdk/python/src/paged.h"

namespace kvferry::python {

// A C stream; its pins go back when the last holder lets go: the Stream, or a
// view of a page.
class StreamHandle : public PageOwner {
 public:
  StreamHandle(ClientRef client, kvf_stream* stream)
      : client_(std::move(client)), stream_(stream) {}
  ~StreamHandle() override;
  kvf_stream* get() const { return stream_; }

 private:
  const ClientRef client_;
  kvf_stream* const stream_;
};

// kvferry.Stream. Null once released: then it is like one that nothing is
// followed by.
class Stream {
 public:
  explicit Stream(std::shared_ptr<StreamHandle> handle)
      : handle_(std::move(handle)) {}

  kvf_stream_state state();
  void Check();
  std::optional<PageView> page(int64_t block, int64_t slice);
  bool Poll();
  void WaitChunk(int64_t blocks, std::optional<double> timeout);
  void WaitLayer(int64_t blocks, int64_t layers, std::optional<double> timeout);
  void WaitCommitted(std::optional<double> timeout);
  void WaitChange(std::optional<double> timeout);
  int event_fd();
  uint32_t Confirm(int64_t blocks);
  void PullTo(const PagedMemory& paged, const Buffer& engine_blocks,
              std::optional<double> timeout, int64_t slice_first,
              int64_t slice_count, bool whole_blocks);
  nanobind::bytes hand_over();
  void Release();
  std::string Repr();

 private:
  // In an ExclusiveUse.
  // Errors  FailedPrecondition  released
  kvf_stream* get() const;
  kvf_stream_state StateInUse() const;
  template <typename Wait>
  void WaitInSteps(std::optional<double> timeout, const Wait& wait);

  Exclusive exclusive_;
  std::shared_ptr<StreamHandle> handle_;
};

// kvferry.Stream
void BindStream(nanobind::module_& module);
// Client.stream
void BindClientStream(nanobind::class_<Client>& client);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_STREAM_H_
