#ifndef KVFERRY_SDK_PYTHON_SRC_PUBLICATION_H_
#define KVFERRY_SDK_PYTHON_SRC_PUBLICATION_H_

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

// A C publication, destroyed when the last holder lets go of it: the
// Publication, or a view of a page, whose memory stays mapped so.
class PublicationHandle : public PageOwner {
 public:
  PublicationHandle(ClientRef client, kvf_publication* publication)
      : client_(std::move(client)), publication_(publication) {}
  ~PublicationHandle() override;
  kvf_publication* get() const { return publication_; }

 private:
  const ClientRef client_;
  kvf_publication* const publication_;
};

// kvferry.Publication
class Publication {
 public:
  explicit Publication(std::shared_ptr<PublicationHandle> handle)
      : handle_(std::move(handle)) {}
  // Aborts what is not committed at once, whoever holds views.
  ~Publication();

  uint32_t Begin(const Buffer& keys, int64_t group,
                 const std::optional<Buffer>& parent, int64_t tail_tokens,
                 std::optional<double> timeout);
  uint32_t size();
  const char* outcome(int64_t position);
  nanobind::bytes outcomes(int64_t first, int64_t count);
  const char* residence(int64_t position);
  std::optional<PageView> page(int64_t position, int64_t slice);
  uint32_t Fill(int64_t first, const PagedMemory& paged,
                const Buffer& engine_blocks, int64_t last_tokens);
  void CommitLayers(int64_t first, int64_t count, int64_t layers);
  void Commit(int64_t first, int64_t count);
  void CommitAndWait(int64_t first, int64_t count,
                     std::optional<double> timeout);
  void SetHandOver(const Buffer& data);
  void Abort();
  void Close(std::optional<double> timeout);
  std::string Repr();

  // For a ticket or a GPU, in an ExclusiveUse of exclusive().
  kvf_publication* get() const { return handle_->get(); }
  Exclusive& exclusive() { return exclusive_; }

 private:
  Exclusive exclusive_;
  const std::shared_ptr<PublicationHandle> handle_;
  bool ended_ = false;
};

// kvferry.Publication
void BindPublication(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_PUBLICATION_H_
