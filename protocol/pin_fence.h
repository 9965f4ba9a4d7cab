#ifndef KVFERRY_PROTOCOL_PIN_FENCE_H_
#define KVFERRY_PROTOCOL_PIN_FENCE_H_

#include <atomic>

#if defined(__SANITIZE_THREAD__)
#define KVFERRY_PIN_FENCE_IS_FULL 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KVFERRY_PIN_FENCE_IS_FULL 1
#endif
#endif
#if !defined(KVFERRY_PIN_FENCE_IS_FULL) && !defined(__x86_64__)
#define KVFERRY_PIN_FENCE_IS_FULL 1
#endif

namespace kvferry::protocol {

// The client's fence of INV-PIN-1: pins made before it are visible to the
// daemon before any slot is read after it. Once a batch, between the last
// `PinCell::fetch_add` and the first re-read of a slot.
//
// REQUIRES  every pin before it was made by an atomic read-modify-write, and
//           the last of them stands before the fence on every path to it. A pin
//           made by load and store needs atomic_thread_fence(seq_cst) instead.
//
// On x86-64 it costs nothing. What the protocol needs is store-load order,
// the only order that x86-TSO does not give by itself: a store may wait in the
// core's store buffer while a later load is done. But a read-modify-write of
// std::atomic is a locked instruction whatever its memory order, and a locked
// instruction completes only with the store buffer empty, its own store
// included; no later load is done before it. So after the last pin of a batch
// all pins of the batch are in memory, and what is left to do is to keep the
// compiler from moving the loads up, which a signal fence does. (The residence
// words are ordinary write-back memory; loads of write-combining memory would
// not be held back.) A full fence here would drain the empty buffer once more,
// for about 5 ns.
//
// Elsewhere the fence is needed: on ARM64 an atomic add, even with acquire and
// release, is no barrier between its store and a later load.
//
// Tested by tests/litmus, variant `locked_rmw` (this function after a relaxed
// fetch_add) beside `no_client_fence` (load, store, no fence), and by
// tests/model with LOCKED_PINS. Under ThreadSanitizer the fence is a full one:
// its run-time sees atomic operations, not instructions.
inline void PinFence() {
#if defined(KVFERRY_PIN_FENCE_IS_FULL)
  std::atomic_thread_fence(std::memory_order_seq_cst);
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace kvferry::protocol

#undef KVFERRY_PIN_FENCE_IS_FULL

#endif  // KVFERRY_PROTOCOL_PIN_FENCE_H_
