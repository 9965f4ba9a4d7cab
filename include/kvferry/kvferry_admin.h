#ifndef KVFERRY_KVFERRY_ADMIN_H_
#define KVFERRY_KVFERRY_ADMIN_H_

#include "kvferry/kvferry.h"

// What an operator asks the daemon, for C (admin.h says more). Only root and
// the daemon's own user are answered: KVF_PERMISSION_DENIED otherwise.

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct kvf_admin kvf_admin;
// What one call answered: `count` structs, and the strings that they point to.
typedef struct kvf_admin_list kvf_admin_list;

typedef struct kvf_daemon_status {
  size_t size;
  // The admin handle's, until it asks for the status again.
  const char* version;
  const char* socket;
  const char* directory;
  const char* memory_note;
  const char* read_only_note;
  uint64_t epoch;
  int64_t uptime_ns;
  uint64_t pool_bytes;
  uint64_t used_bytes;
  uint64_t loop_iterations;
  int64_t loop_max_ns;
  uint64_t doorbells;
  uint64_t sessions_refused;
  uint64_t sessions_closed_for_cause;
  uint32_t pid;
  uint32_t namespace_count;
  uint32_t session_count;
  uint32_t memory_locked;
  uint32_t huge_pages;
} kvf_daemon_status;

typedef struct kvf_namespace_status {
  size_t size;
  const char* name;
  const char* model;
  const char* revision;
  const char* dtype;
  const char* fingerprint_hex;
  uint64_t id;
  uint64_t quota_bytes;
  uint64_t populated_bytes;
  uint64_t content_epoch;
  uint64_t lookups;
  uint64_t hit_blocks;
  uint64_t missed_lookups;
  uint64_t published_blocks;
  uint64_t evicted_blocks;
  uint64_t aborted_blocks;
  uint64_t no_space;
  uint64_t standby_blocks;
  uint64_t adopted_blocks;
  uint64_t stalled_publications;
  uint32_t sessions;
  uint32_t open_publications;
  uint32_t leases;
  uint32_t overhead_bytes_per_block;
  uint32_t group_count;
} kvf_namespace_status;

typedef struct kvf_group_status {
  size_t size;
  const char* name;
  uint64_t stride_bytes;
  uint32_t blocks;
  uint32_t present;
  uint32_t free;
  uint32_t granted;
  uint32_t publishing;
  uint32_t ready;
  uint32_t quarantined;
  uint32_t reserved;
  uint32_t in_io;    // a worker process copies from or to them
  uint32_t resting;  // of quarantined: a dead client's GPU may write
} kvf_group_status;

typedef struct kvf_session_info {
  size_t size;
  const char* namespace_name;
  const char* client_name;
  uint64_t matches;
  uint64_t hit_blocks;
  int64_t age_ns;
  uint32_t session;
  uint32_t pid;
  uint32_t uid;
  uint32_t publish;
  uint32_t granted;
  uint32_t publications;
  uint32_t pinned_blocks;
  uint32_t reserved;
  uint32_t has_gpu;  // it opened a device
  uint32_t gpu;      // whose number this is
} kvf_session_info;

typedef struct kvf_block_info {
  size_t size;
  const char* state;  // pending, ready, retiring
  kvf_key key;
  kvf_key parent;
  uint64_t bytes;
  int64_t last_use_ago_ns;
  uint32_t group;
  uint32_t block;
  uint32_t generation;
  uint32_t children;
  uint32_t pins;
  // Its residence in GPU memory; gpu_pool 0: none, and gpu_state is null.
  const char* gpu_state;
  uint32_t gpu_pool;
  uint32_t gpu_block;
  uint32_t gpu_pins;
  uint32_t reserved;
} kvf_block_info;

// A device that the daemon serves, or was configured to. admin.h's GpuStatus
// says what each member means.
typedef struct kvf_gpu_status {
  size_t size;
  const char* uuid;
  const char* configured_as;
  const char* state;
  const char* reason;
  const char* name;
  const char* export_mode;
  uint64_t total_bytes;
  uint64_t pool_bytes;
  uint64_t used_bytes;
  uint64_t bytes_to_host;
  uint64_t bytes_to_device;
  uint64_t copy_errors;
  uint64_t promotion_bytes_per_s;
  uint32_t device;
  uint32_t emulated;
  uint32_t ordinal;
  uint32_t worker_pid;
  uint32_t restarts;
  uint32_t driver_version;
  uint32_t runtime_version;
  uint32_t copies_waiting;
  uint32_t capability_count;
  uint32_t pool_count;
  uint32_t import_count;
  uint32_t reserved;
} kvf_gpu_status;

typedef struct kvf_gpu_capability {
  size_t size;
  const char* name;
  const char* reason;
  uint32_t available;
  uint32_t reserved;
} kvf_gpu_capability;

typedef struct kvf_gpu_pool_status {
  size_t size;
  const char* namespace_name;
  const char* group_name;
  const char* exported_by;
  const char* reason;
  uint64_t stride_bytes;
  uint64_t written_behind;
  uint64_t dropped;
  uint64_t promoted;
  uint64_t spilled;
  uint64_t lost;
  uint32_t pool;
  uint32_t incarnation;
  uint32_t blocks;
  uint32_t free;
  uint32_t granted;
  uint32_t publishing;
  uint32_t ready;
  uint32_t in_io;
  uint32_t quarantined;
  uint32_t resting;
  uint32_t not_clean;
  uint32_t high_blocks;
  uint32_t low_blocks;
  uint32_t reserved;
} kvf_gpu_pool_status;

typedef struct kvf_gpu_import {
  size_t size;
  const char* client_name;
  uint32_t session;
  uint32_t pid;
} kvf_gpu_import;

// `socket_path` may be null.
KVF_EXPORT kvf_status kvf_admin_connect(const char* socket_path,
                                        int64_t timeout_ns, kvf_admin** admin);
KVF_EXPORT void kvf_admin_close(kvf_admin* admin);
KVF_EXPORT kvf_status kvf_admin_status(kvf_admin* admin,
                                       kvf_daemon_status* status);
KVF_EXPORT kvf_status kvf_admin_namespaces(kvf_admin* admin,
                                           kvf_admin_list** list);
KVF_EXPORT kvf_status kvf_admin_sessions(kvf_admin* admin,
                                         kvf_admin_list** list);
KVF_EXPORT kvf_status kvf_admin_blocks(kvf_admin* admin,
                                       const char* namespace_name,
                                       const char* prefix_hex, uint32_t limit,
                                       kvf_admin_list** list);
KVF_EXPORT kvf_status kvf_admin_gpus(kvf_admin* admin, kvf_admin_list** list);
KVF_EXPORT size_t kvf_admin_list_count(const kvf_admin_list* list);
KVF_EXPORT void kvf_admin_list_destroy(kvf_admin_list* list);
// Strings in the struct are the list's.
// Errors  KVF_OUT_OF_RANGE         no such index
//         KVF_FAILED_PRECONDITION  a list of something else
KVF_EXPORT kvf_status kvf_admin_list_namespace(const kvf_admin_list* list,
                                               size_t index,
                                               kvf_namespace_status* status);
// Both may be null.
KVF_EXPORT kvf_status kvf_admin_list_group(const kvf_admin_list* list,
                                           size_t index, uint32_t group,
                                           kvf_group_spec* spec,
                                           kvf_group_status* status);
KVF_EXPORT kvf_status kvf_admin_list_session(const kvf_admin_list* list,
                                             size_t index,
                                             kvf_session_info* info);
KVF_EXPORT kvf_status kvf_admin_list_block(const kvf_admin_list* list,
                                           size_t index, kvf_block_info* info);
KVF_EXPORT kvf_status kvf_admin_list_gpu(const kvf_admin_list* list,
                                         size_t index, kvf_gpu_status* status);
// Of the device at `index`, one of its capabilities, pools or imports.
KVF_EXPORT kvf_status
kvf_admin_list_gpu_capability(const kvf_admin_list* list, size_t index,
                              uint32_t number, kvf_gpu_capability* capability);
KVF_EXPORT kvf_status kvf_admin_list_gpu_pool(const kvf_admin_list* list,
                                              size_t index, uint32_t number,
                                              kvf_gpu_pool_status* status);
KVF_EXPORT kvf_status kvf_admin_list_gpu_import(const kvf_admin_list* list,
                                                size_t index, uint32_t number,
                                                kvf_gpu_import* import);
KVF_EXPORT kvf_status kvf_admin_create_namespace(kvf_admin* admin,
                                                 const kvf_namespace_spec* spec,
                                                 uint64_t quota_bytes);
// *evicted and *pinned may be null.
KVF_EXPORT kvf_status kvf_admin_evict(kvf_admin* admin,
                                      const char* namespace_name,
                                      const char* prefix_hex, uint32_t limit,
                                      uint32_t* evicted, uint32_t* pinned);
// *content_epoch and *blocks may be null.
KVF_EXPORT kvf_status kvf_admin_clear(kvf_admin* admin,
                                      const char* namespace_name,
                                      uint64_t* content_epoch,
                                      uint32_t* blocks);

#if defined(__cplusplus)
}
#endif

#endif  // KVFERRY_KVFERRY_ADMIN_H_
