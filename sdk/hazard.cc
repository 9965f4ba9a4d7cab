#include "sdk/hazard.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kvferry::sdk {
namespace {

// All slots there ever were; as many as threads lived at once.
std::atomic<HazardSlot*> g_slots{nullptr};

// Set, and never destroyed, once this thread's slot was given up.
thread_local constinit bool t_ending = false;

}  // namespace

// Gives the slot to the next thread when its own ends.
struct HazardSlotOwner {
  HazardSlot* slot = nullptr;
  ~HazardSlotOwner() {
    t_ending = true;
    Hazards::slot_ = nullptr;
    if (slot == nullptr) return;
    slot->held.store(nullptr, std::memory_order_release);
    slot->owned.store(false, std::memory_order_release);
  }
};

namespace {

thread_local HazardSlotOwner t_owner;

HazardSlot* NewSlot() {
  auto* slot = new HazardSlot;
  slot->next = g_slots.load(std::memory_order_relaxed);
  while (!g_slots.compare_exchange_weak(
      slot->next, slot, std::memory_order_acq_rel, std::memory_order_relaxed)) {
  }
  return slot;
}

}  // namespace

thread_local constinit HazardSlot* Hazards::slot_ = nullptr;

HazardSlot* Hazards::Adopt() {
  if (t_ending) {
    // A destructor of another thread_local, later than ours: this slot is kept
    // by the thread for good, since nobody will give it back.
    slot_ = NewSlot();
    return slot_;
  }
  for (HazardSlot* slot = g_slots.load(std::memory_order_acquire);
       slot != nullptr; slot = slot->next) {
    bool owned = false;
    if (slot->owned.compare_exchange_strong(owned, true,
                                            std::memory_order_acq_rel)) {
      t_owner.slot = slot;
      slot_ = slot;
      return slot;
    }
  }
  HazardSlot* const slot = NewSlot();
  t_owner.slot = slot;
  slot_ = slot;
  return slot;
}

bool Hazards::Enable() {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0,
                   0) == 0;
}

bool Hazards::Barrier() {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool Hazards::Names(const void* object) {
  for (HazardSlot* slot = g_slots.load(std::memory_order_acquire);
       slot != nullptr; slot = slot->next) {
    if (slot->held.load(std::memory_order_acquire) == object) return true;
  }
  return false;
}

}  // namespace kvferry::sdk
