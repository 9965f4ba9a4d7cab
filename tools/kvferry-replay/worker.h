#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_WORKER_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_WORKER_H_

#include "tools/kvferry-replay/options.h"
#include "tools/support/exit_code.h"

namespace kvferry::replay {

// A worker process: attaches as an engine would, then takes one request after
// the other: matches its prompt, reads and checks every byte of the hit,
// publishes the blocks that are missing.
//
// Life cycle  1. attach   2. kReady   3. a job in, kDone out, repeatedly
//             4. jobs closed: detach, end. After a failure: kFailed, end.
tools::ExitCode RunWorker(const ReplayOptions& options);

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_WORKER_H_
