#ifndef KVFERRY_TOOLS_KVFERRY_REPLAY_TRACE_GENERATOR_H_
#define KVFERRY_TOOLS_KVFERRY_REPLAY_TRACE_GENERATOR_H_

#include <cstdint>
#include <ostream>
#include <vector>

#include "tools/kvferry-replay/trace_reader.h"

namespace kvferry::replay {

// Makes `count` requests as an assistant's users send them: conversations
// begin with one of sixteen system prompts, chosen by Zipf's law, and go on
// for some turns, each of which sends all that was said before. The same seed
// gives the same requests on every platform.
std::vector<TraceRequest> GenerateTrace(uint64_t seed, uint64_t count,
                                        uint32_t block_tokens);

// One JSON object a line, as ReadTrace reads them.
void WriteTrace(const std::vector<TraceRequest>& requests, std::ostream& out);

}  // namespace kvferry::replay

#endif  // KVFERRY_TOOLS_KVFERRY_REPLAY_TRACE_GENERATOR_H_
