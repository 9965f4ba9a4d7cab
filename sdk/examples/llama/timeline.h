#ifndef KVFERRY_SDK_EXAMPLES_LLAMA_TIMELINE_H_
#define KVFERRY_SDK_EXAMPLES_LLAMA_TIMELINE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace kvferry::llama {

// Which part of a prompt an event was about; what is not said is left out.
struct TimelinePart {
  std::optional<uint32_t> chunk = {};
  std::optional<uint32_t> layer = {};
  std::optional<uint32_t> blocks = {};
};

// What one process did when, for timeline.py: spans and instants on the clock
// that all processes of a machine share (CLOCK_MONOTONIC).
//
// A file of it has one JSON object a line; an instant ends when it begins:
//
//   {"process":"prefill","name":"compute","begin_ns":1,"end_ns":9,"chunk":0}
//
// Memory   grows with every event; nothing is written before WriteTo
// Threads  one
class Timeline {
 public:
  explicit Timeline(std::string process) : process_(std::move(process)) {}

  static uint64_t NowNs();

  // `name` is a literal: events keep the pointer.
  void Span(const char* name, uint64_t begin_ns, uint64_t end_ns,
            const TimelinePart& part = {});
  void Instant(const char* name, uint64_t at_ns,
               const TimelinePart& part = {}) {
    Span(name, at_ns, at_ns, part);
  }

  std::string ToString() const;
  // Does nothing when `path` is empty.
  // Errors  those of ErrnoStatus: the file cannot be written
  absl::Status WriteTo(const std::string& path) const;

 private:
  struct Event {
    const char* name;
    uint64_t begin_ns;
    uint64_t end_ns;
    TimelinePart part;
  };

  const std::string process_;
  std::vector<Event> events_;
};

}  // namespace kvferry::llama

#endif  // KVFERRY_SDK_EXAMPLES_LLAMA_TIMELINE_H_
