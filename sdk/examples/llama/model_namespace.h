#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_MODEL_NAMESPACE_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_MODEL_NAMESPACE_H_

#include <cstdint>
#include <string>

#include "kvferry/copy.h"
#include "kvferry/layout.h"
#include "sdk/examples/llama/model_config.h"
#include "sdk/examples/llama/paged_kv_cache.h"

namespace kvferry::llama {

// The model in KVFerry's terms: one group of all layers, a page a slice, a
// slice kv_head_count / slice_count heads.
// REQUIRES  slice_count divides config.kv_head_count
NamespaceSpec NamespaceFor(const ModelConfig& config, const std::string& name,
                           uint32_t block_tokens, uint32_t slice_count);

// Where slice `slice`'s heads lie in the engine's own blocks.
PagedTensor TensorFor(const GroupSpec& group, uint32_t slice,
                      PagedKvCache* cache);

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_MODEL_NAMESPACE_H_
