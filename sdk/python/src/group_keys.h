#ifndef KVFERRY_SDK_PYTHON_SRC_GROUP_KEYS_H_
#define KVFERRY_SDK_PYTHON_SRC_GROUP_KEYS_H_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <deque>
#include <vector>

#include "kvferry/kvferry.h"
#include "sdk/python/src/buffers.h"

namespace kvferry::python {

// Keys of one or several groups, held for its scope.
class GroupKeysView {
 public:
  GroupKeysView(const Buffer& keys, int64_t group, int64_t tail_tokens);
  // A sequence of (group, keys) or (group, keys, tail_tokens).
  explicit GroupKeysView(nanobind::handle groups);

  const kvf_group_keys* data() const { return groups_.data(); }
  size_t size() const { return groups_.size(); }
  // Of all groups together.
  size_t key_count() const { return key_count_; }

 private:
  void Add(const Buffer& keys, int64_t group, int64_t tail_tokens);

  std::deque<KeysView> views_;  // which do not move
  std::vector<kvf_group_keys> groups_;
  size_t key_count_ = 0;
};

}  // namespace kvferry::python

#endif  // KVFERRY_SDK_PYTHON_SRC_GROUP_KEYS_H_
