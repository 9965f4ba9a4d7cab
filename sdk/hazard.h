#ifndef KVFERRY_SDK_HAZARD_H_
#define KVFERRY_SDK_HAZARD_H_

#include <atomic>

namespace kvferry::sdk {

// Keeps an old attachment's memory from being unmapped under a thread that has
// just read the pointer to it and not pinned anything there yet.
//
// A reader                              The reclaimer
//   1. p = current                        1. current = another attachment
//   2. slot = p                           2. Barrier() (membarrier)
//   3. compiler barrier                   3. does any slot name p? then later
//   4. current == p? else from 1          4. is a pin of p raised? then later
//   5. pins, checks, unpins or keeps      5. unmap p
//   6. slot = none (release)
//
// Why it is safe: membarrier makes every running thread of this process pass a
// full fence between steps 1 and 3 of the reclaimer. A reader whose fence
// falls before its step 4 reads `current` after the swap, sees another pointer
// and lets go. One whose fence falls after its step 2 has its slot seen at
// step 3. There is no third place, because 2 and 4 stand in this order in the
// program and a fence is either before 4 or after 2. A slot that reads "none"
// at step 3 because its reader has come to step 6 carries, by release and
// acquire, the pins that the reader kept, so step 4 sees them; from then on
// nobody can add one.
//
// The reader pays two plain stores and two loads, no fence. Where membarrier
// is refused (some sandboxes) nothing is unmapped before the Client goes.
//
// One slot a thread and process serves all Clients, since no reader holds two.
struct alignas(64) HazardSlot {
  // Writer: the owning thread. Read by reclaimers.
  std::atomic<const void*> held{nullptr};
  // Whether a living thread owns it; taken by compare-and-swap.
  std::atomic<bool> owned{true};
  HazardSlot* next = nullptr;  // constant once it is in the list
};

class Hazards {
 public:
  // This thread's slot; its first call in a thread may allocate.
  static HazardSlot* ThisThread() {
    HazardSlot* slot = slot_;
    return slot != nullptr ? slot : Adopt();
  }

  // Makes Barrier() work for this process. False: it never will.
  static bool Enable();

  // Every thread of this process passes a full fence before it returns.
  // Returns false when it could not be had.
  static bool Barrier();

  // Whether any thread's slot names `object`.
  static bool Names(const void* object);

 private:
  friend struct HazardSlotOwner;
  static HazardSlot* Adopt();

  // initial-exec: without it a shared library calls a function to find it. Not
  // beside the CUDA runtime, whose 12 KiB of thread-local storage would then
  // have to fit into what the loader keeps for libraries opened at run time:
  // ours would not load. Programs that link the SDK statically
  // pay for neither, since the linker knows the place then.
#ifdef KVFERRY_DYNAMIC_TLS
  static thread_local constinit HazardSlot* slot_;
#else
  static thread_local constinit HazardSlot* slot_
      __attribute__((tls_model("initial-exec")));
#endif
};

// Holds one object for the time of a call.
class HazardGuard {
 public:
  HazardGuard() : slot_(Hazards::ThisThread()) {}
  ~HazardGuard() { slot_->held.store(nullptr, std::memory_order_release); }
  HazardGuard(const HazardGuard&) = delete;
  HazardGuard& operator=(const HazardGuard&) = delete;

  // The object `source` points to, which stays mapped until the guard goes.
  template <typename T>
  T* Protect(const std::atomic<T*>& source) {
    for (;;) {
      T* object = source.load(std::memory_order_acquire);
      slot_->held.store(object, std::memory_order_release);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      if (source.load(std::memory_order_acquire) == object) [[likely]] {
        return object;
      }
    }
  }

 private:
  HazardSlot* const slot_;
};

}  // namespace kvferry::sdk

#endif  // KVFERRY_SDK_HAZARD_H_
