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
  PageView page(int64_t position, int64_t slice, int64_t group);
  void Check();
  void CopyTo(const PagedMemory& paged, const Buffer& engine_blocks,
              int64_t group, int64_t first, int64_t last_tokens);
  size_t views();
  void Release();
  std::string Repr();

 private:
  void ReleaseInUse();

  Exclusive exclusive_;
  std::shared_ptr<Pins> pins_;
  std::vector<std::weak_ptr<Pins>> deferred_;
};

// kvferry.Prefix
void BindPrefix(nanobind::module_& module);

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_PREFIX_H_
