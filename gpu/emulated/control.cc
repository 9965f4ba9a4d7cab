#include "gpu/emulated/control.h"

#include "gpu/emulated/stream_table.h"

namespace kvferry::gpu {

EmulatedControl::EmulatedControl(uint32_t number)
    : context_(EmulatedContext::Of(number)) {}

absl::Status EmulatedControl::SetCapturing(void* stream, bool capturing) {
  if (stream == nullptr) {
    context_->default_stream().SetCapturing(capturing);
    return absl::OkStatus();
  }
  const std::shared_ptr<StreamQueue> queue =
      StreamTable::OfThisProcess().Find(stream);
  if (queue == nullptr)
    return absl::InvalidArgumentError("gpu: no such stream");
  queue->SetCapturing(capturing);
  return absl::OkStatus();
}

absl::Status EmulatedControl::BeginCapture(void* stream) {
  return SetCapturing(stream, true);
}

absl::Status EmulatedControl::EndCapture(void* stream) {
  return SetCapturing(stream, false);
}

void EmulatedControl::FailWork(uint64_t k) {
  context_->SetFate(k, EmulatedContext::Fate::kFails);
}

void EmulatedControl::HangWork(uint64_t k) {
  context_->SetFate(k, EmulatedContext::Fate::kHangs);
}

void EmulatedControl::WaitUntilHung() { context_->WaitUntilHung(); }

void EmulatedControl::Release() { context_->ReleaseHung(); }

void EmulatedControl::Break(const std::string& why) { context_->Break(why); }

uint64_t EmulatedControl::memory_bytes() const {
  return context_->memory_bytes();
}

}  // namespace kvferry::gpu
