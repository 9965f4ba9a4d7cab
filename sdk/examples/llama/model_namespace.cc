#include "sdk/examples/llama/model_namespace.h"

namespace kvferry::llama {

NamespaceSpec NamespaceFor(const ModelConfig& config, const std::string& name,
                           uint32_t block_tokens, uint32_t slice_count) {
  GroupSpec group;
  group.block_tokens = block_tokens;
  group.layer_count = config.layer_count;
  group.kv_count = 2;
  group.head_count = config.kv_head_count / slice_count;
  group.head_bytes = config.head_dim * sizeof(float);
  group.slice_count = slice_count;

  NamespaceSpec spec;
  spec.name = name;
  spec.model = "kvferry-llama-example";
  spec.revision = config.Describe();
  spec.dtype = "float32";
  spec.groups.push_back(group);
  return spec;
}

PagedTensor TensorFor(const GroupSpec& group, uint32_t slice,
                      PagedKvCache* cache) {
  const size_t head_stride = cache->head_stride_bytes();
  PagedTensor tensor;
  tensor.base = cache->data() + size_t{slice} * group.head_count * head_stride;
  tensor.layer_stride = static_cast<int64_t>(cache->layer_stride_bytes());
  tensor.kv_stride = static_cast<int64_t>(cache->kv_stride_bytes());
  tensor.block_stride = static_cast<int64_t>(cache->block_stride_bytes());
  tensor.token_stride = static_cast<int64_t>(cache->token_stride_bytes());
  tensor.head_stride = static_cast<int64_t>(head_stride);
  return tensor;
}

}  // namespace kvferry::llama
