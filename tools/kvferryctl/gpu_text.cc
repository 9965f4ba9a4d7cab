#include "tools/kvferryctl/gpu_text.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "tools/support/table.h"
#include "tools/support/units.h"

namespace kvferry::ctl {
namespace {

using tools::BytesText;
using tools::CountText;

constexpr size_t kColumns = 80;
// Of a pool's "namespace/group": leaves room for six counts.
constexpr size_t kNameColumns = 22;
constexpr size_t kIndent = 2;

// The first columns of a name; two dots at the end say that it goes on.
std::string Clip(const std::string& name, size_t columns) {
  size_t width = 0;
  size_t cut = 0;  // bytes of the first columns - 2 characters
  for (size_t i = 0; i < name.size(); ++i) {
    // Bytes that continue a UTF-8 character take no column.
    if ((static_cast<unsigned char>(name[i]) & 0xc0) == 0x80) continue;
    if (width == columns - 2) cut = i;
    ++width;
  }
  return width <= columns ? name : name.substr(0, cut) + "..";
}

// Words in lines that end before the last column, the first of them after what
// is `indent` columns wide already.
std::string Wrap(const std::string& text, size_t indent) {
  std::string wrapped;
  size_t column = indent;
  for (const absl::string_view word :
       absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (column > indent && column + 1 + word.size() > kColumns) {
      wrapped += "\n" + std::string(indent, ' ');
      column = indent;
    } else if (column > indent) {
      wrapped += ' ';
      ++column;
    }
    absl::StrAppend(&wrapped, word);
    column += word.size();
  }
  return wrapped;
}

// Indents every line but empty ones.
std::string Indent(const std::string& text) {
  std::string indented;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (line.empty()) continue;
    absl::StrAppend(&indented, std::string(kIndent, ' '), line, "\n");
  }
  return indented;
}

// A device's lines of "name  words", wrapped.
class Lines {
 public:
  void Add(const std::string& name, const std::string& text) {
    constexpr size_t kNameWidth = 10;
    std::string start = std::string(kIndent, ' ') + name;
    start.resize(kIndent + kNameWidth + 2, ' ');
    text_ += start + Wrap(tools::Printable(text), start.size()) + "\n";
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// 13000 is "13.0".
std::string VersionText(uint32_t version) {
  return version == 0 ? "none"
                      : absl::StrCat(version / 1000, ".", version % 1000 / 10);
}

std::string PoolName(const GpuPoolStatus& pool) {
  return Clip(absl::StrCat(pool.namespace_name, "/", pool.group_name),
              kNameColumns);
}

std::string RateText(uint64_t before, uint64_t now, absl::Duration between) {
  return BytesText(static_cast<uint64_t>(PerSecond(before, now, between))) +
         "/s";
}

std::string CopiesText(const GpuSamples& samples, const GpuStatus& gpu) {
  std::string to_host = BytesText(gpu.bytes_to_host);
  std::string to_device = BytesText(gpu.bytes_to_device);
  if (const GpuStatus* const before = samples.Before(gpu)) {
    const absl::Duration between = samples.between();
    to_host = RateText(before->bytes_to_host, gpu.bytes_to_host, between);
    to_device = RateText(before->bytes_to_device, gpu.bytes_to_device, between);
  }
  return absl::StrCat(to_host, " to the host, ", to_device, " to the device, ",
                      CountText(gpu.copy_errors), " errors, ",
                      CountText(gpu.copies_waiting), " waiting");
}

std::string CapabilitiesText(const GpuStatus& gpu) {
  std::vector<std::string> has;
  Lines lines;
  for (const GpuCapability& capability : gpu.capabilities) {
    if (capability.available) has.push_back(capability.name);
  }
  if (!has.empty()) lines.Add("has", absl::StrJoin(has, ", "));
  for (const GpuCapability& capability : gpu.capabilities) {
    if (capability.available) continue;
    lines.Add("has not",
              absl::StrCat(capability.name, ": ", capability.reason));
  }
  return lines.text();
}

std::string PoolsText(const GpuSamples& samples, const GpuStatus& gpu) {
  tools::Table memory(
      {"POOL", ">NUMBER", ">BLOCK SIZE", "EXPORT", ">HIGH", ">LOW"});
  tools::Table blocks({"POOL", ">BLOCKS", ">FREE", ">READY", ">NOT CLEAN"});
  tools::Table busy({"POOL", ">GRANTED", ">PUBLISHING", ">IN I/O",
                     ">QUARANTINED", ">RESTING"});
  std::vector<std::string> titles = {
      samples.Before(gpu) == nullptr ? "POOL, IN ALL" : "POOL, A SECOND"};
  for (const PoolCounter& counter : kPoolCounters) {
    titles.emplace_back(counter.title);
  }
  tools::Table counters(titles);
  Lines reasons;
  for (const GpuPoolStatus& pool : gpu.pools) {
    const std::string name = PoolName(pool);
    memory.AddRow({name, absl::StrCat(pool.pool), BytesText(pool.stride_bytes),
                   pool.exported_by, CountText(pool.high_blocks),
                   CountText(pool.low_blocks)});
    if (!pool.reason.empty())
      reasons.Add("no memory", name + ": " + pool.reason);
    blocks.AddRow({name, CountText(pool.blocks), CountText(pool.free),
                   CountText(pool.ready), CountText(pool.not_clean)});
    busy.AddRow({name, CountText(pool.granted), CountText(pool.publishing),
                 CountText(pool.in_io), CountText(pool.quarantined),
                 CountText(pool.resting)});
    const GpuPoolStatus* const earlier = samples.Before(gpu, pool);
    std::vector<std::string> cells = {name};
    for (const PoolCounter& counter : kPoolCounters) {
      const uint64_t now = pool.*counter.member;
      cells.push_back(earlier == nullptr
                          ? CountText(now)
                          : CountText(static_cast<uint64_t>(
                                PerSecond(earlier->*counter.member, now,
                                          samples.between()) +
                                0.5)));
    }
    counters.AddRow(std::move(cells));
  }
  return absl::StrCat("\n", Indent(memory.Render()), reasons.text(), "\n",
                      Indent(blocks.Render()), "\n", Indent(busy.Render()),
                      "\n", Indent(counters.Render()));
}

std::string ImportsText(const GpuStatus& gpu) {
  tools::Table table({">SESSION", ">PID", "CLIENT"});
  for (const GpuImport& import : gpu.imports) {
    table.AddRow({absl::StrCat(import.session), absl::StrCat(import.pid),
                  Clip(import.client_name, 2 * kNameColumns)});
  }
  return "\n" + Indent(table.Render());
}

std::string GpuText(const GpuSamples& samples, const GpuStatus& gpu) {
  std::string text = Wrap(
      absl::StrCat(
          "device ", gpu.device, "  ",
          tools::Printable(gpu.uuid.empty() ? gpu.configured_as : gpu.uuid),
          "  ", gpu.emulated ? "EMULATED (no GPU)" : "CUDA", "  ", gpu.state),
      0);
  text += "\n";
  Lines lines;
  if (!gpu.reason.empty()) lines.Add("because", gpu.reason);
  if (!gpu.name.empty()) lines.Add("name", gpu.name);
  lines.Add(
      "worker",
      gpu.worker_pid == 0
          ? absl::StrCat("none, ", CountText(gpu.restarts), " restarts")
          : absl::StrCat("pid ", gpu.worker_pid, ", ordinal ", gpu.ordinal,
                         " there, ", CountText(gpu.restarts), " restarts"));
  lines.Add("memory",
            absl::StrCat(BytesText(gpu.used_bytes), " of ",
                         BytesText(gpu.pool_bytes), " in namespaces (",
                         tools::PercentText(gpu.used_bytes, gpu.pool_bytes),
                         "); the device has ", BytesText(gpu.total_bytes)));
  lines.Add("export", gpu.export_mode);
  if (!gpu.emulated) {
    lines.Add("driver",
              absl::StrCat(VersionText(gpu.driver_version), ", runtime ",
                           VersionText(gpu.runtime_version)));
  }
  lines.Add("copies", CopiesText(samples, gpu));
  lines.Add("promotion",
            gpu.promotion_bytes_per_s == 0
                ? "off"
                : absl::StrCat("at most ", BytesText(gpu.promotion_bytes_per_s),
                               "/s"));
  absl::StrAppend(&text, lines.text(), CapabilitiesText(gpu));
  if (gpu.pools.empty()) {
    text += "\n  No namespace has memory here.\n";
  } else {
    text += PoolsText(samples, gpu);
  }
  text += gpu.imports.empty() ? "\n  No session has opened it.\n"
                              : ImportsText(gpu);
  return text;
}

}  // namespace

std::string GpusText(const GpuSamples& samples) {
  if (samples.now.empty()) {
    return "The daemon serves no GPU (--gpu-devices names those it is to).\n";
  }
  std::string text;
  for (const GpuStatus& gpu : samples.now) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", GpuText(samples, gpu));
  }
  return text;
}

std::string GpuLine(const GpuStatus& gpu) {
  return absl::StrCat(
      gpu.uuid.empty() ? gpu.configured_as : gpu.uuid,
      gpu.emulated ? " (emulated), " : ", ", gpu.state,
      gpu.reason.empty() ? "" : absl::StrCat(" (", gpu.reason, ")"), ", ",
      BytesText(gpu.used_bytes), " of ", BytesText(gpu.pool_bytes),
      " in namespaces");
}

}  // namespace kvferry::ctl
