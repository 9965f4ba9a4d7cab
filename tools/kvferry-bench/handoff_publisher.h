#ifndef KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_PUBLISHER_H_
#define KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_PUBLISHER_H_

#include "absl/status/status.h"
#include "kvferry/client.h"
#include "tools/kvferry-bench/peer.h"

namespace kvferry::bench {

// The prefill server of `handoff`: publishes the rounds that the board asks
// for, at their pace, until it says stop.
// Errors  as Publication; kInternal  a block got no memory to be written to
absl::Status RunHandoffPublisher(Client& client, PeerBoard* board);

}  // namespace kvferry::bench

#endif  // KVFERRY_TOOLS_KVFERRY_BENCH_HANDOFF_PUBLISHER_H_
