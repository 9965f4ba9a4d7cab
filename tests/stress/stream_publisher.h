#ifndef KVFERRY_TESTS_STRESS_STREAM_PUBLISHER_H_
#define KVFERRY_TESTS_STRESS_STREAM_PUBLISHER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "tests/stress/stream_lane.h"
#include "tests/stress/stream_round.h"

namespace kvferry::test {

// Publisher number `which` of a round, in this process: does its script up to
// its ending. Does not return from Ending::kKilled.
absl::Status RunPublisher(const std::string& socket, const RoundPlan& plan,
                          uint32_t which, StreamLane* lane);

// A reader that waits until it is killed.
absl::Status RunVictim(const std::string& socket, const RoundPlan& plan);

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_STRESS_STREAM_PUBLISHER_H_
