#include "sdk/gpu/host_registrar.h"

#include <chrono>
#include <utility>

#include "base/status.h"
#include "sdk/service_thread.h"

namespace kvferry::sdk {
namespace {

constexpr std::chrono::seconds kLookInterval{1};

}  // namespace

absl::Status HostRegistrar::Start(bool registers) {
  {
    MutexLock lock(&mutex_);
    memory_ = std::make_shared<HostMemory>(current_(), device_);
  }
  registers_ = registers;
  KVFERRY_ASSIGN_OR_RETURN(
      thread_, StartServiceThread("kvferry-regist", [this] { Run(); }));
  return absl::OkStatus();
}

void HostRegistrar::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  // Unregisters, outside the lock.
  std::shared_ptr<HostMemory> memory;
  MutexLock lock(&mutex_);
  memory.swap(memory_);
}

std::shared_ptr<HostMemory> HostRegistrar::memory() const {
  MutexLock lock(&mutex_);
  return memory_;
}

void HostRegistrar::LookSoon() {
  MutexLock lock(&mutex_);
  ++asked_;
  changed_.NotifyAll();
}

void HostRegistrar::LookNow() {
  if (!thread_.joinable()) return;
  MutexLock lock(&mutex_);
  const uint64_t mine = ++asked_;
  changed_.NotifyAll();
  while (looked_ < mine && !stopping_) changed_.Wait(&mutex_);
}

void HostRegistrar::Run() {
  for (;;) {
    uint64_t asked;
    std::shared_ptr<HostMemory> memory;
    {
      MutexLock lock(&mutex_);
      if (stopping_) return;
      asked = asked_;
      memory = memory_;
    }
    std::shared_ptr<Attachment> current = current_();
    if (memory->attachment() != current) {
      memory = std::make_shared<HostMemory>(std::move(current), device_);
      // The old one ends with its last user, which may be this thread.
      std::shared_ptr<HostMemory> old = memory;
      MutexLock lock(&mutex_);
      memory_.swap(old);
    }
    if (registers_) memory->RegisterNew();
    memory.reset();
    MutexLock lock(&mutex_);
    looked_ = asked;
    changed_.NotifyAll();
    while (!stopping_ && asked_ == asked &&
           changed_.WaitUntil(
               &mutex_, std::chrono::steady_clock::now() + kLookInterval)) {
    }
  }
}

}  // namespace kvferry::sdk
