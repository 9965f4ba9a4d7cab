#include "daemon/gpu/copier.h"

#include <utility>

#include "base/status.h"

namespace kvferry::gpu_worker {

absl::StatusOr<std::unique_ptr<Copier>> Copier::Make(gpu::Device* device) {
  std::unique_ptr<Copier> copier(new Copier(device));
  for (Lane& lane : copier->lanes_) {
    KVFERRY_ASSIGN_OR_RETURN(lane.stream, device->CreateStream());
  }
  return copier;
}

Copier::~Copier() {
  // Before the events that the streams were told of.
  for (Lane& lane : lanes_) lane.stream.reset();
}

void Copier::Add(uint64_t id, protocol::WorkerCommandType direction,
                 const gpu::Copy& copy) {
  const size_t lane =
      direction == protocol::WorkerCommandType::kCopyToHost ? 0 : 1;
  lanes_[lane].waiting.push_back({id, copy});
}

size_t Copier::DoWork(std::vector<protocol::WorkerCompletion>* completions) {
  size_t work = 0;
  for (Lane& lane : lanes_) {
    while (EndBatch(lane, completions)) ++work;
    while (StartBatch(lane, completions)) ++work;
  }
  return work;
}

bool Copier::busy() const {
  for (const Lane& lane : lanes_) {
    if (!lane.waiting.empty() || !lane.under_way.empty()) return true;
  }
  return false;
}

bool Copier::StartBatch(Lane& lane,
                        std::vector<protocol::WorkerCompletion>* completions) {
  if (lane.waiting.empty() || lane.under_way.size() >= kBatchesUnderWayMax) {
    return false;
  }
  Batch batch;
  std::vector<gpu::Copy> copies;
  uint64_t bytes = 0;
  // One always fits, whatever its size.
  while (!lane.waiting.empty() && copies.size() < kCopiesPerBatchMax &&
         (copies.empty() ||
          bytes + lane.waiting.front().copy.bytes <= kBytesPerBatchMax)) {
    bytes += lane.waiting.front().copy.bytes;
    copies.push_back(lane.waiting.front().copy);
    batch.ids.push_back(lane.waiting.front().id);
    lane.waiting.pop_front();
  }
  const absl::Status launched = Launch(lane, copies, &batch);
  if (launched.ok()) {
    lane.under_way.push_back(std::move(batch));
  } else {
    Complete(std::move(batch), launched, completions);
  }
  return true;
}

absl::Status Copier::Launch(Lane& lane, const std::vector<gpu::Copy>& copies,
                            Batch* batch) {
  KVFERRY_RETURN_IF_ERROR(device_status_);
  if (spare_events_.empty()) {
    KVFERRY_ASSIGN_OR_RETURN(batch->event, device_.CreateEvent());
  } else {
    batch->event = std::move(spare_events_.back());
    spare_events_.pop_back();
  }
  const absl::Status queued = device_.CopyAsync(copies, lane.stream->native());
  // Recorded in any case: if some of the copies were queued, the batch must not
  // count as ended, nor its memory be used again, before they are over.
  const absl::Status recorded =
      device_.Record(batch->event.get(), lane.stream->native());
  if (!recorded.ok()) {
    // No event tells when they are over; the end of the stream does.
    lane.stream.reset();
    absl::StatusOr<std::unique_ptr<gpu::Stream>> stream =
        device_.CreateStream();
    if (stream.ok()) {
      lane.stream = *std::move(stream);
    } else {
      device_status_ = stream.status();
    }
  } else if (!queued.ok()) {
    (void)device_.Synchronize(*batch->event);
  }
  return queued.ok() ? recorded : queued;
}

bool Copier::EndBatch(Lane& lane,
                      std::vector<protocol::WorkerCompletion>* completions) {
  if (lane.under_way.empty()) return false;
  const absl::StatusOr<bool> done =
      device_.IsDone(*lane.under_way.front().event);
  if (done.ok() && !*done) return false;
  Batch batch = std::move(lane.under_way.front());
  lane.under_way.pop_front();
  Complete(std::move(batch), done.status(), completions);
  return true;
}

void Copier::Complete(Batch batch, const absl::Status& status,
                      std::vector<protocol::WorkerCompletion>* completions) {
  if (absl::IsUnavailable(status)) device_status_ = status;
  for (const uint64_t id : batch.ids) {
    protocol::WorkerCompletion completion{};
    completion.id = id;
    completion.ok = status.ok() ? 1 : 0;
    completion.error = static_cast<uint32_t>(status.code());
    completions->push_back(completion);
  }
  if (batch.event != nullptr && status.ok()) {
    spare_events_.push_back(std::move(batch.event));
  }
}

}  // namespace kvferry::gpu_worker
