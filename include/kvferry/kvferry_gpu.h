#ifndef KVFERRY_KVFERRY_GPU_H_
#define KVFERRY_KVFERRY_GPU_H_

#include <stddef.h>
#include <stdint.h>

#include "kvferry/kvferry.h"

// Blocks into and out of an engine's paged tensors in GPU memory, on streams:
// gpu.h for C. Everything that kvferry.h says of structs, errors, handles,
// forks and times holds here.
//
//   kvf_gpu_open -> kvf_match -> kvf_gpu_pull -> kvf_transfer_order_after
//                   kvf_publication_begin -> kvf_gpu_publish
//
// Streams   A `void* stream` is the engine's queue of GPU work, a cudaStream_t;
//           null is the device's default stream. One that is being captured
//           for a graph is refused (KVF_FAILED_PRECONDITION).
// Order     A copy begins when what the stream had been given before the call
//           is done. The stream does not wait for it unless it is told to
//           (kvf_transfer_order_after).
// Memory    The engine's blocks that a transfer names, and the kvf_paged's
//           addresses, stay as they are until it has ended. The kvf_paged
//           itself and every array need to last for the call only.
// Threads   Any number use a kvf_gpu or a kvf_transfer at once.
// CUDA      The library has its own runtime in it and loads the driver itself:
//           a program neither links CUDA for this nor needs a GPU to start.

#if defined(__cplusplus)
extern "C" {
#endif

typedef struct kvf_gpu kvf_gpu;
typedef struct kvf_transfer kvf_transfer;

// --- the device --------------------------------------------------------------

enum { KVF_GPU_NO_HOST_REGISTRATION = 1 << 0 };

typedef struct kvf_gpu_options {
  size_t size;
  // "": the thread's current device; "N": an ordinal; "GPU-...": a UUID;
  // "emulated:N": host memory, for tests. Null: "".
  const char* device;
  uint64_t flags;          // KVF_GPU_*
  uint64_t staging_bytes;  // 0: 64 MiB
  uint32_t side_streams;   // each way, at most 8; 0: 2
  uint32_t reserved;       // 0
} kvf_gpu_options;

typedef struct kvf_gpu_info {
  size_t size;
  // The kvf_gpu's.
  const char* uuid;
  const char* name;
  uint32_t emulated;
  // Whether the namespace has GPU memory that this process has imported;
  // kvf_gpu_check_pool says why not.
  uint32_t has_pool;
} kvf_gpu_info;

// One device a client. From here on its matches prefer residences in GPU memory
// that this process can reach. `options` may be null.
// Errors  KVF_UNIMPLEMENTED   the library was built without CUDA
//         KVF_UNAVAILABLE     no driver or device, or too old a one; no daemon
//         KVF_NOT_FOUND       no such device
//         KVF_ALREADY_EXISTS  the client has one
//         A daemon that does not serve the device is none: blocks are in host
//         memory then.
KVF_EXPORT kvf_status kvf_gpu_open(kvf_client* client,
                                   const kvf_gpu_options* options,
                                   kvf_gpu** gpu);
// Waits until its transfers have ended; their handles may be destroyed later.
// No other call on it may be under way.
KVF_EXPORT void kvf_gpu_close(kvf_gpu* gpu);
KVF_EXPORT kvf_status kvf_gpu_get_info(const kvf_gpu* gpu, kvf_gpu_info* info);
// KVF_OK: there is a pool. Else why there is none.
KVF_EXPORT kvf_status kvf_gpu_check_pool(const kvf_gpu* gpu);

// --- moving blocks -----------------------------------------------------------

// What goes where, of one group.
typedef struct kvf_gpu_blocks {
  size_t size;
  const kvf_paged* paged;         // of KVF_PAGED_DEVICE
  const uint64_t* engine_blocks;  // KVF_NO_BLOCK: skipped
  size_t count;
  uint32_t group;
  uint32_t first;        // position of the first block
  uint32_t last_tokens;  // of the last block; 0: all
  uint32_t reserved;     // 0
} kvf_gpu_blocks;

typedef struct kvf_gpu_pull_options {
  size_t size;
  // Layers whose landing kvf_transfer_order_after can tell apart: pieces of so
  // many; 0: all at once.
  uint32_t layers_a_piece;
  uint32_t reserved;  // 0
} kvf_gpu_pull_options;

// Copies pinned blocks into the engine's. The pins are the transfer's from here
// on, and `prefix` is empty; when the call fails, it is as it was. `blocks` has
// an element a group, all of one `size`; `options` may be null.
// Errors  KVF_RESOURCE_EXHAUSTED  too many transfers under way
KVF_EXPORT kvf_status kvf_gpu_pull(kvf_gpu* gpu, kvf_prefix* prefix,
                                   const kvf_gpu_blocks* blocks,
                                   size_t block_lists, void* stream,
                                   const kvf_gpu_pull_options* options,
                                   kvf_transfer** transfer);

// Copies a prompt's blocks while they are being written, each piece as soon as
// it is there, until the stream of blocks has ended; that is the transfer's
// from here on, and `prompt` is as after kvf_stream_create (when the call
// fails, as it was). Positions that did not come are skipped ones.
KVF_EXPORT kvf_status kvf_gpu_follow(kvf_gpu* gpu, kvf_stream* prompt,
                                     const kvf_gpu_blocks* blocks, void* stream,
                                     const kvf_gpu_pull_options* options,
                                     kvf_transfer** transfer);

enum {
  // Positions are not committed when their bytes are there.
  KVF_GPU_PUBLISH_NO_COMMIT = 1 << 0
};

typedef struct kvf_gpu_publish_options {
  size_t size;
  uint64_t flags;  // KVF_GPU_PUBLISH_*
  // Of every page, layers [first_layer, first_layer + layer_count) (0: to the
  // last). With less than all nothing is committed, but told to readers as
  // kvf_publication_commit_layers does.
  uint32_t first_layer;
  uint32_t layer_count;
} kvf_gpu_publish_options;

// Copies the positions of a publication from `blocks->first` on from the
// engine's blocks, and commits them when their bytes are there; `blocks->group`
// is not read. The publication may be used for more meanwhile, and closed or
// destroyed: that waits for the transfer. `options` may be null.
KVF_EXPORT kvf_status kvf_gpu_publish(kvf_gpu* gpu,
                                      kvf_publication* publication,
                                      const kvf_gpu_blocks* blocks,
                                      void* stream,
                                      const kvf_gpu_publish_options* options,
                                      kvf_transfer** transfer);

// Where a kernel of the engine's own may read a page of a hit, or write one of
// a publication: a device address, null when the device cannot reach it. Good
// until the prefix is released, the position is committed, or `gpu` is closed.
// Errors  KVF_OUT_OF_RANGE  no such position or slice
KVF_EXPORT kvf_status kvf_gpu_prefix_page(const kvf_gpu* gpu,
                                          const kvf_prefix* prefix,
                                          uint32_t position, uint32_t slice,
                                          uint32_t group, void** page);
KVF_EXPORT kvf_status kvf_gpu_publication_page(const kvf_gpu* gpu,
                                               kvf_publication* publication,
                                               uint32_t position,
                                               uint32_t slice, void** page);

// --- transfers ---------------------------------------------------------------

// Every transfer ends by itself. Destroying the handle neither ends it nor
// waits.
KVF_EXPORT void kvf_transfer_destroy(kvf_transfer* transfer);
// 1 when it has ended, well or not.
KVF_EXPORT int kvf_transfer_done(const kvf_transfer* transfer);
// How it ended.
// Errors  KVF_UNAVAILABLE  it is under way (kvf_transfer_done is 0), or the
//                          device is broken
//         KVF_ABORTED      bytes cannot be trusted: it was a miss
KVF_EXPORT kvf_status kvf_transfer_status(const kvf_transfer* transfer);
// Waits on the processor; then the same.
// Errors  also KVF_DEADLINE_EXCEEDED  it is still under way
KVF_EXPORT kvf_status kvf_transfer_wait(const kvf_transfer* transfer,
                                        int64_t timeout_ns);
// What `stream` is given from here on begins when the first `layers` layers (0:
// all) have landed. Does not wait. The bytes are only to be trusted if the
// status turns out well: see to it before what was computed from them is used.
KVF_EXPORT kvf_status kvf_transfer_order_after(const kvf_transfer* transfer,
                                               void* stream, uint32_t layers);
// Positions of a pull that failed, or of a publication that were not to be
// written, ascending. *count is how many there are; no more than `capacity` are
// written.
// Errors  KVF_UNAVAILABLE   it is under way
//         KVF_OUT_OF_RANGE  capacity is too small; nothing was written
KVF_EXPORT kvf_status kvf_transfer_skipped(const kvf_transfer* transfer,
                                           uint32_t* positions, size_t capacity,
                                           size_t* count);
// Of what was copied, once it has ended.
KVF_EXPORT uint64_t kvf_transfer_bytes(const kvf_transfer* transfer);

#if defined(__cplusplus)
}
#endif

#endif  // KVFERRY_KVFERRY_GPU_H_
