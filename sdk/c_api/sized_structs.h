#ifndef KVFERRY_SDK_C_API_SIZED_STRUCTS_H_
#define KVFERRY_SDK_C_API_SIZED_STRUCTS_H_

#include <cstddef>

#include "kvferry/kvferry.h"
#include "kvferry/kvferry_admin.h"
#include "kvferry/kvferry_gpu.h"
#include "sdk/c_api/sized_struct.h"

// Every struct of the headers that has a version, with its size and the
// field up to which every version must have it.
//
// The sizes are asserted because a change of one is a change of the ABI: a new
// field goes behind the last one and makes the struct larger, never into
// padding (an older caller has not zeroed that), and nothing is taken away.
namespace kvferry::c_api {

#define KVFERRY_SIZED_STRUCT(type, last_needed, bytes)            \
  static_assert(sizeof(type) == (bytes));                         \
  template <>                                                     \
  struct StructInfoOf<type> {                                     \
    static constexpr StructInfo kInfo = {                         \
        #type, sizeof(type),                                      \
        offsetof(type, last_needed) + sizeof(type::last_needed)}; \
  }

// Given to the library.
KVFERRY_SIZED_STRUCT(kvf_group_spec, slice_count, 48);
KVFERRY_SIZED_STRUCT(kvf_namespace_spec, group_count, 56);
KVFERRY_SIZED_STRUCT(kvf_attach_options, spec, 64);
KVFERRY_SIZED_STRUCT(kvf_group_keys, group, 32);
KVFERRY_SIZED_STRUCT(kvf_paged_layer, head_stride, 48);
KVFERRY_SIZED_STRUCT(kvf_paged_options, block_count, 64);
KVFERRY_SIZED_STRUCT(kvf_publication_options, size, 56);
KVFERRY_SIZED_STRUCT(kvf_stream_options, size, 32);
KVFERRY_SIZED_STRUCT(kvf_pull_options, size, 24);
KVFERRY_SIZED_STRUCT(kvf_ticket_options, size, 40);
KVFERRY_SIZED_STRUCT(kvf_gpu_options, size, 40);
KVFERRY_SIZED_STRUCT(kvf_gpu_blocks, last_tokens, 48);
KVFERRY_SIZED_STRUCT(kvf_gpu_pull_options, size, 16);
KVFERRY_SIZED_STRUCT(kvf_gpu_publish_options, size, 24);

// Filled by it.
KVFERRY_SIZED_STRUCT(kvf_namespace_info, name, 112);
KVFERRY_SIZED_STRUCT(kvf_lookup_result, tokens, 40);
KVFERRY_SIZED_STRUCT(kvf_stream_state, ok_tokens, 48);
KVFERRY_SIZED_STRUCT(kvf_ticket_content_info, keys, 56);
KVFERRY_SIZED_STRUCT(kvf_gpu_info, uuid, 32);
KVFERRY_SIZED_STRUCT(kvf_daemon_status, version, 144);
KVFERRY_SIZED_STRUCT(kvf_namespace_status, name, 184);
KVFERRY_SIZED_STRUCT(kvf_group_status, name, 64);
KVFERRY_SIZED_STRUCT(kvf_session_info, namespace_name, 88);
KVFERRY_SIZED_STRUCT(kvf_block_info, state, 112);
KVFERRY_SIZED_STRUCT(kvf_gpu_status, uuid, 160);
KVFERRY_SIZED_STRUCT(kvf_gpu_capability, available, 32);
KVFERRY_SIZED_STRUCT(kvf_gpu_pool_status, namespace_name, 144);
KVFERRY_SIZED_STRUCT(kvf_gpu_import, pid, 24);

#undef KVFERRY_SIZED_STRUCT

}  // namespace kvferry::c_api

#endif  // KVFERRY_SDK_C_API_SIZED_STRUCTS_H_
