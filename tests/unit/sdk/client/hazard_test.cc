#include "sdk/hazard.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

namespace kvferry::sdk {
namespace {

TEST(HazardTest, NamesAnObjectForAsLongAsTheGuardLives) {
  int object = 0;
  const std::atomic<int*> source{&object};
  EXPECT_FALSE(Hazards::Names(&object));
  {
    HazardGuard guard;
    EXPECT_EQ(guard.Protect(source), &object);
    EXPECT_TRUE(Hazards::Names(&object));
  }
  EXPECT_FALSE(Hazards::Names(&object));
}

TEST(HazardTest, AThreadTakesOverTheSlotOfOneThatEnded) {
  HazardSlot* const mine = Hazards::ThisThread();
  HazardSlot* first = nullptr;
  HazardSlot* second = nullptr;
  std::thread([&first] { first = Hazards::ThisThread(); }).join();
  std::thread([&second] { second = Hazards::ThisThread(); }).join();
  EXPECT_EQ(first, second);
  EXPECT_NE(first, mine);
}

// Goal    Nothing is taken away from under a reader.
// Method  A writer swaps objects and destroys those that the rules let it; a
//         destroyed object says so, and TSan and ASan would, too.
TEST(HazardTest, AReclaimedObjectIsHeldByNobody) {
  if (!Hazards::Enable()) GTEST_SKIP() << "membarrier is not permitted here";
#ifdef KVFERRY_SANITIZED
  constexpr int kSwaps = 2'000;
#else
  constexpr int kSwaps = 20'000;
#endif
  struct Object {
    explicit Object(int n) : number(n) {}
    ~Object() { number = -1; }
    int number;
  };
  auto* first = new Object(0);
  std::atomic<Object*> current{first};
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> bad{0};
  std::atomic<uint64_t> reads{0};
  const auto read = [&] {
    while (!stop.load(std::memory_order_relaxed)) {
      HazardGuard guard;
      const Object* object = guard.Protect(current);
      if (object->number < 0) bad.fetch_add(1);
      reads.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::thread one(read);
  std::thread two(read);
  std::vector<std::unique_ptr<Object>> retired;
  size_t reclaimed = 0;
  for (int n = 1; n <= kSwaps || reads.load() < 1000; ++n) {
    retired.emplace_back(
        current.exchange(new Object(n), std::memory_order_acq_rel));
    if (retired.size() < 4) continue;
    ASSERT_TRUE(Hazards::Barrier());
    reclaimed += std::erase_if(retired, [](const auto& object) {
      return !Hazards::Names(object.get());
    });
  }
  stop.store(true);
  one.join();
  two.join();
  delete current.load();
  EXPECT_EQ(bad.load(), 0);
  EXPECT_GT(reclaimed, 0);
}

}  // namespace
}  // namespace kvferry::sdk
