#include "tests/sim/fake_gpu.h"

#include <algorithm>
#include <utility>

#include "protocol/limits.h"
#include "tests/sim/world.h"

namespace kvferry::sim {

FakeGpu::FakeGpu(World* world, uint32_t device, std::vector<uint32_t> pools)
    : world_(*world), device_(device), pools_(std::move(pools)) {}

bool FakeGpu::idle() const {
  return state_ == State::kUp && jobs_.empty() &&
         world_.core().copies_waiting(device_) == 0;
}

void FakeGpu::Come() {
  for (const uint32_t pool : pools_) {
    world_.core().PoolUp(pool, world_.now_ms());
    world_.NewMemory(pool);
  }
  state_ = State::kUp;
}

void FakeGpu::Die() {
  ++world_.totals().gpu_deaths;
  for (const Job& job : jobs_) {
    late_ids_.push_back(job.order.id);
    if (job.order.to_host) ghosts_.push_back({job.order.host_block});
  }
  jobs_.clear();
  state_ = State::kDead;
}

void FakeGpu::Notice() {
  // Who has imported the memory keeps it until it is told.
  for (const uint32_t pool : pools_) {
    world_.core().PoolDown(pool, world_.now_ms());
    world_.NoMemory(pool);
  }
  for (Ghost& ghost : ghosts_) {
    ghost.until_ms =
        std::min(ghost.until_ms, world_.now_ms() + protocol::kGpuRestMs);
  }
  state_ = State::kDown;
}

void FakeGpu::TakeSome() {
  constexpr size_t kJobsMax = 12;
  if (jobs_.size() >= kJobsMax) return;
  std::vector<core::CopyOrder> orders;
  const size_t waiting = world_.core().copies_waiting(device_);
  const size_t room = 1 + world_.Random(4);
  world_.core().TakeCopies(device_, room, &orders);
  if (orders.size() != std::min(waiting, room)) {
    world_.Fail("fewer copies were handed out than wait");
  }
  for (const core::CopyOrder& order : orders) jobs_.push_back({order});
}

void FakeGpu::CopyOne() {
  if (jobs_.empty()) return;
  Job& job = jobs_[world_.Random(static_cast<uint32_t>(jobs_.size()))];
  if (job.pages == World::kSlices * World::kLayers) return;
  const uint32_t slice = job.pages % World::kSlices;
  const uint32_t layer = job.pages / World::kSlices;
  ++job.pages;
  uint64_t& host = world_.page(job.order.host_block, slice, layer);
  uint64_t& gpu = world_.page(job.order.gpu_block, slice, layer);
  (job.order.to_host ? host : gpu) = job.order.to_host ? gpu : host;
}

void FakeGpu::CompleteOne() {
  if (jobs_.empty()) return;
  const uint32_t which = world_.Random(static_cast<uint32_t>(jobs_.size()));
  const bool whole = jobs_[which].pages == World::kSlices * World::kLayers;
  const bool fails = world_.Chance(whole ? 4 : 2);
  if (!whole && !fails) return;
  const uint64_t id = jobs_[which].order.id;
  if (fails) world_.CopyFailed(jobs_[which].order.gpu_block);
  jobs_.erase(jobs_.begin() + which);
  world_.core().CopyDone(id, !fails, world_.now_ms());
  if (world_.Chance(5)) world_.core().CopyDone(id, fails, world_.now_ms());
}

void FakeGpu::Haunt() {
  std::erase_if(ghosts_, [this](const Ghost& ghost) {
    return world_.now_ms() >= ghost.until_ms;
  });
  if (!ghosts_.empty()) {
    const Ghost& ghost =
        ghosts_[world_.Random(static_cast<uint32_t>(ghosts_.size()))];
    world_.Scribble(ghost.block);
  }
  // Not before the daemon knows: a completion says that all of it was copied.
  if (state_ != State::kDead && !late_ids_.empty() && world_.Chance(20)) {
    world_.core().CopyDone(late_ids_.back(), true, world_.now_ms());
    late_ids_.pop_back();
  }
}

void FakeGpu::Step() {
  Haunt();
  switch (state_) {
    case State::kDown:
      // A completion of a worker that is gone comes before the next is there.
      if (winding_down_ || world_.Chance(15)) Come();
      return;
    case State::kDead:
      if (winding_down_ || world_.Chance(20)) Notice();
      return;
    case State::kUp:
      break;
  }
  const uint32_t dice = world_.Random(1000);
  if (dice < world_.deaths_permille() && !winding_down_) {
    Die();
  } else if (dice < 150) {
    TakeSome();
  } else if (dice < 800) {
    for (uint32_t i = 0; i < 3; ++i) CopyOne();
  } else {
    CompleteOne();
  }
}

}  // namespace kvferry::sim
