#ifndef KVFERRY_SDK_PYTHON_SRC_PREFIX_H_
#define KVFERRY_SDK_PYTHON_SRC_PREFIX_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kvferry/kvferry.h"
#include "sdk/python/src/buffers.h"
#include "sdk/python/src/client.h"
#include "sdk/python/src/exclusive.h"
#include "sdk/python/src/gil.h"
#include "sdk/python/src/page.h"
#include "sdk/python/src/paged.h"

namespace kvferry::python {

// The pins of one match. They go back when the last holder lets go: the
// Prefix, or a view of a page.
class Pins : public PageOwner {
 public:
  explicit Pins(ClientRef client);
  ~Pins() override;

  // Fills it; what it held is released first.
  // Errors  as kvf_match; then it is empty
  void Match(const ClientRef& client, const kvf_group_keys* groups,
             size_t group_count, size_t key_count);
  void Release();
  // Somebody else has them: it is empty.
  void Taken() { key_count_ = 0; }
  const ClientRef& client() const { return client_; }
  kvf_prefix* get() const { return prefix_; }

 private:
  // Whether giving the pins back takes long.
  bool many() const;

  ClientRef client_;
  kvf_prefix* prefix_ = nullptr;
  size_t key_count_ = 0;
};

// kvferry.Prefix
//
// Life cycle  1. Match fills pins_   2. page() hands out views of them
//             3. Release: without views the pins go back and pins_ waits to be
//             filled again; with views they move to deferred_, and the last
//             view gives them back.
class Prefix {
 public:
  void Match(const ClientRef& client, const kvf_group_keys* groups,
             size_t group_count, size_t key_count);
  uint64_t tokens();
  uint32_t first_block(int64_t group);
  uint32_t block_count(int64_t group);
  const char* residence(int64_t position, int64_t group);
  PageView page(int64_t position, int64_t slice, int64_t group);
  void Check();
  void CopyTo(const PagedMemory& paged, const Buffer& engine_blocks,
              int64_t group, int64_t first, int64_t last_tokens);
  // Has `take`, a call of the C interface without the GIL, take the pins over.
  // Errors  FailedPrecondition  views of pages are alive, which need them
  //         InvalidArgument     it is empty
  template <typename Take>
  kvf_status TakeOver(const Take& take);
  // Has `look` read it, which keeps the GIL.
  // Errors  InvalidArgument  it is empty
  template <typename Look>
  kvf_status Read(const Look& look);
  size_t views();
  void Release();
  std::string Repr();

 private:
  // Errors  InvalidArgument  it is empty
  const Pins& FilledInUse() const;
  // Errors  FailedPrecondition  views are alive
  void CheckNoViewsInUse() const;
  void ReleaseInUse();

  Exclusive exclusive_;
  std::shared_ptr<Pins> pins_;
  std::vector<std::weak_ptr<Pins>> deferred_;
};

template <typename Take>
kvf_status Prefix::TakeOver(const Take& take) {
  const ExclusiveUse use(exclusive_, "prefix");
  const Pins& pins = FilledInUse();
  CheckNoViewsInUse();
  kvf_status status;
  {
    const GilRelease release;
    status = take(pins.get());
  }
  if (status == KVF_OK) pins_->Taken();
  return status;
}

template <typename Look>
kvf_status Prefix::Read(const Look& look) {
  const ExclusiveUse use(exclusive_, "prefix");
  return look(FilledInUse().get());
}

// kvferry.Prefix
void BindPrefix(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_PREFIX_H_
