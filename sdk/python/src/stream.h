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
#include "sdk/python/src/gil.h"
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
  Stream(std::shared_ptr<StreamHandle> handle, uint32_t group)
      : handle_(std::move(handle)), group_(group) {}

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
  uint32_t group() const { return group_; }
  // Has `take`, a call of the C interface without the GIL, take the stream
  // over; it is as a released one then.
  // Errors  FailedPrecondition  views of pages are alive; released
  template <typename Take>
  kvf_status TakeOver(const Take& take);
  void Release();
  std::string Repr();

 private:
  // In an ExclusiveUse.
  // Errors  FailedPrecondition  released
  kvf_stream* get() const;
  // Errors  FailedPrecondition  views are alive
  void CheckNoViewsInUse() const;
  kvf_stream_state StateInUse() const;
  template <typename Wait>
  void WaitInSteps(std::optional<double> timeout, const Wait& wait);

  Exclusive exclusive_;
  std::shared_ptr<StreamHandle> handle_;
  const uint32_t group_;
};

template <typename Take>
kvf_status Stream::TakeOver(const Take& take) {
  const ExclusiveUse use(exclusive_, "stream");
  kvf_stream* const stream = get();
  CheckNoViewsInUse();
  kvf_status status;
  {
    const GilRelease release;
    status = take(stream);
  }
  if (status == KVF_OK) handle_.reset();
  return status;
}

// kvferry.Stream
void BindStream(nanobind::module_& module);
// Client.stream
void BindClientStream(nanobind::class_<Client>& client);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_STREAM_H_
