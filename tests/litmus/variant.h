#ifndef KVFERRY_TESTS_LITMUS_VARIANT_H_
#define KVFERRY_TESTS_LITMUS_VARIANT_H_

#include <array>

namespace kvferry::litmus {

// How the client raises its cell. A locked instruction is a full barrier on
// x86, so a variant that is to miss its fence must raise by load and store.
enum class Pin { kLoadAndStore, kAtomicAdd };

// What stands between the client's pin and its second look at the slot.
enum class ClientFence { kNone, kFull, kPinFence };

// What stands between the daemon's mark and its look at the pins.
enum class DaemonFence { kNone, kFull };

struct Variant {
  const char* name;
  Pin pin;
  ClientFence client_fence;
  DaemonFence daemon_fence;
  // Whether the variant is wrong, so that violations must show: the proof that
  // the others would show them if they had any.
  bool bites;
};

inline constexpr std::array<Variant, 5> kVariants = {{
    {"both_fences", Pin::kLoadAndStore, ClientFence::kFull, DaemonFence::kFull,
     false},
    // What sdk::PinTable does.
    {"locked_rmw", Pin::kAtomicAdd, ClientFence::kPinFence, DaemonFence::kFull,
     false},
    {"no_client_fence", Pin::kLoadAndStore, ClientFence::kNone,
     DaemonFence::kFull, true},
    {"no_daemon_fence", Pin::kLoadAndStore, ClientFence::kFull,
     DaemonFence::kNone, true},
    {"no_fences", Pin::kLoadAndStore, ClientFence::kNone, DaemonFence::kNone,
     true},
}};

}  // namespace kvferry::litmus

#endif  // KVFERRY_TESTS_LITMUS_VARIANT_H_
