#include "gpu/emulated/context.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kvferry::gpu {
namespace {

struct Contexts {
  Mutex mutex;
  std::map<uint32_t, std::weak_ptr<EmulatedContext>> by_number
      ABSL_GUARDED_BY(mutex);
};

Contexts& ContextsOfThisProcess() {
  // Never destroyed: devices may outlive main.
  static auto* const contexts = new Contexts;
  return *contexts;
}

}  // namespace

std::shared_ptr<EmulatedContext> EmulatedContext::Of(uint32_t number) {
  Contexts& contexts = ContextsOfThisProcess();
  MutexLock lock(&contexts.mutex);
  std::weak_ptr<EmulatedContext>& known = contexts.by_number[number];
  std::shared_ptr<EmulatedContext> context = known.lock();
  if (context == nullptr) {
    context = std::make_shared<EmulatedContext>(number);
    known = context;
  }
  return context;
}

EmulatedContext::EmulatedContext(uint32_t number)
    : number_(number), default_stream_(number) {}

std::string EmulatedContext::name() const {
  return absl::StrCat("emulated:", number_);
}

absl::Status EmulatedContext::status() const {
  MutexLock lock(&mutex_);
  return status_;
}

void EmulatedContext::Break(const std::string& why) {
  MutexLock lock(&mutex_);
  if (!status_.ok()) return;  // the first reason stands
  status_ = absl::UnavailableError(absl::StrCat("gpu: ", name(), ": ", why));
  changed_.NotifyAll();
}

absl::Status EmulatedContext::TakeMemory(uint64_t bytes, uint64_t total_bytes) {
  MutexLock lock(&mutex_);
  const uint64_t left =
      memory_bytes_ < total_bytes ? total_bytes - memory_bytes_ : 0;
  if (bytes > left) {
    return absl::ResourceExhaustedError(
        absl::StrCat("gpu: ", name(), ": ", bytes, " bytes asked for, ", left,
                     " of ", total_bytes, " left"));
  }
  memory_bytes_ += bytes;
  return absl::OkStatus();
}

void EmulatedContext::GiveMemory(uint64_t bytes) {
  MutexLock lock(&mutex_);
  memory_bytes_ -= bytes;
}

uint64_t EmulatedContext::memory_bytes() const {
  MutexLock lock(&mutex_);
  return memory_bytes_;
}

EmulatedContext::Fate EmulatedContext::NextFate() {
  MutexLock lock(&mutex_);
  ++work_count_;
  if (work_count_ != fault_at_) return Fate::kDone;
  fault_at_ = 0;
  return fault_;
}

void EmulatedContext::SetFate(uint64_t k, Fate fate) {
  MutexLock lock(&mutex_);
  fault_at_ = work_count_ + k;
  fault_ = fate;
  released_ = false;
}

void EmulatedContext::Hang() {
  MutexLock lock(&mutex_);
  ++hung_;
  changed_.NotifyAll();
  while (!released_ && status_.ok()) changed_.Wait(&mutex_);
  --hung_;
}

void EmulatedContext::ReleaseHung() {
  MutexLock lock(&mutex_);
  released_ = true;
  changed_.NotifyAll();
}

void EmulatedContext::WaitUntilHung() {
  MutexLock lock(&mutex_);
  while (hung_ == 0) changed_.Wait(&mutex_);
}

}  // namespace kvferry::gpu
