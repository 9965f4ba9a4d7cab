#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "base/status.h"
#include "tools/kvferryctl/gpu_json.h"
#include "tools/kvferryctl/gpu_samples.h"
#include "tools/kvferryctl/gpu_text.h"
#include "tools/kvferryctl/verb.h"
#include "tools/support/command_line.h"

namespace kvferry::ctl {
namespace {

class GpuVerb : public Verb {
 public:
  explicit GpuVerb(CLI::App& app)
      : Verb(app, "gpu",
             "GPUs: what they can do, their pools and who uses them") {
    tools::AddDurationOption(command(), "--interval", &interval_,
                             "Look twice, so long apart, and print rates in "
                             "place of totals");
  }

  absl::Status Run(Context& context) override {
    KVFERRY_ASSIGN_OR_RETURN(AdminClient * admin, context.Admin());
    GpuSamples samples;
    if (interval_ > absl::ZeroDuration()) {
      KVFERRY_ASSIGN_OR_RETURN(std::vector<GpuStatus> first, admin->Gpus());
      const absl::Time before = absl::Now();
      absl::SleepFor(interval_);
      KVFERRY_ASSIGN_OR_RETURN(samples.now, admin->Gpus());
      samples.earlier = {std::move(first), absl::Now() - before};
    } else {
      KVFERRY_ASSIGN_OR_RETURN(samples.now, admin->Gpus());
    }
    context.Print(GpusJson(samples), GpusText(samples));
    return absl::OkStatus();
  }

 private:
  absl::Duration interval_;  // zero: one look
};

}  // namespace

std::unique_ptr<Verb> MakeGpuVerb(CLI::App& app) {
  return std::make_unique<GpuVerb>(app);
}

}  // namespace kvferry::ctl
