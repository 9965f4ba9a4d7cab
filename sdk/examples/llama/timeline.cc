#include "sdk/examples/llama/timeline.h"

#include <cerrno>
#include <ctime>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/examples/llama/example_io.h"

namespace kvferry::llama {

uint64_t Timeline::NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<uint64_t>(now.tv_nsec);
}

void Timeline::Span(const char* name, uint64_t begin_ns, uint64_t end_ns,
                    const TimelinePart& part) {
  events_.push_back({name, begin_ns, end_ns, part});
}

std::string Timeline::ToString() const {
  std::string text;
  for (const Event& event : events_) {
    JsonLine line;
    line.Text("process", process_)
        .Text("name", event.name)
        .Count("begin_ns", event.begin_ns)
        .Count("end_ns", event.end_ns);
    if (event.part.chunk) line.Count("chunk", *event.part.chunk);
    if (event.part.layer) line.Count("layer", *event.part.layer);
    if (event.part.blocks) line.Count("blocks", *event.part.blocks);
    absl::StrAppend(&text, line.ToString(), "\n");
  }
  return text;
}

absl::Status Timeline::WriteTo(const std::string& path) const {
  if (path.empty()) return absl::OkStatus();
  errno = 0;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << ToString();
  file.close();
  if (file) return absl::OkStatus();
  return ErrnoStatus(errno == 0 ? EIO : errno, absl::StrCat("timeline ", path));
}

}  // namespace kvferry::llama
