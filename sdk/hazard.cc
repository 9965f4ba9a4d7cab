#include "sdk/hazard.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kvferry::sdk {
namespace {

// All slots there ever were; as many as threads lived at once.
std::atomic<HazardSlot*> g_slots{nullptr};

// Gives the slot to the next thread when its own ends.
struct SlotOwner {
  HazardSlot* slot = nullptr;
  ~SlotOwner() {
    if (slot == nullptr) return;
    slot->held.store(nullptr, std::memory_order_release);
    slot->owned.store(false, std::memory_order_release);
  }
};
thread_local SlotOwner t_owner;

}  // namespace

thread_local constinit HazardSlot* Hazards::slot_ = nullptr;

HazardSlot* Hazards::Adopt() {
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
  auto* slot = new HazardSlot;
  slot->next = g_slots.load(std::memory_order_relaxed);
  while (!g_slots.compare_exchange_weak(
      slot->next, slot, std::memory_order_acq_rel, std::memory_order_relaxed)) {
  }
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
