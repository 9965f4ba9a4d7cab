// GpuImpl's pulls of prompts that are still being written.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "sdk/client_impl.h"
#include "sdk/gpu/engine_blocks.h"
#include "sdk/gpu/gpu_impl.h"
#include "sdk/paged_check.h"
#include "sdk/stream_state.h"

namespace kvferry::sdk {

absl::StatusOr<GpuTransfer> GpuImpl::Follow(
    std::unique_ptr<StreamState>* prefix, const GpuPull& pull, void* stream,
    const GpuPullOptions& options) {
  if (forked()) return ForkedError();
  StreamState* const state = prefix->get();
  if (state == nullptr || state->empty()) {
    return absl::InvalidArgumentError("gpu: an empty stream, Match fills it");
  }
  if (state->forked()) return ForkedError();
  if (pull.memory == nullptr || pull.group != state->options().group ||
      pull.first != 0 || pull.engine_blocks.size() != state->key_count()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "gpu: positions [", pull.first, ", +", pull.engine_blocks.size(),
        ") of group ", pull.group,
        pull.memory == nullptr ? " without" : " with",
        " memory; the stream is of positions [0, +", state->key_count(),
        ") of group ", state->options().group));
  }
  KVFERRY_RETURN_IF_ERROR(
      CheckSameGeometry(*pull.memory, pull.group,
                        state->attachment()->segments().group(pull.group)));
  KVFERRY_RETURN_IF_ERROR(
      CheckEngineBlocks(*pull.memory, pull.engine_blocks, pull.last_tokens));

  auto task = std::make_shared<FollowTask>();
  KVFERRY_ASSIGN_OR_RETURN(task->layout, engine_->layouts()->Get(*pull.memory));
  task->engine_blocks.assign(pull.engine_blocks.begin(),
                             pull.engine_blocks.end());
  task->last_tokens =
      pull.last_tokens != 0 ? pull.last_tokens : state->options().tail_tokens;
  task->layers_a_piece = options.layers_a_piece;
  task->finder = MakeFinder(state->attachment().get());
  KVFERRY_ASSIGN_OR_RETURN(task->event_fd, state->event_fd());
  KVFERRY_RETURN_IF_ERROR(follower_->Start());

  KVFERRY_RETURN_IF_ERROR(engine_->Begin(stream));
  absl::StatusOr<EventPool::Loan> after = engine_->events()->Lend();
  absl::Status status = after.status();
  if (status.ok()) status = device_->Record(after->get(), stream);
  if (!status.ok()) {
    engine_->Ended();
    return status;
  }
  // Nothing is refused from here on.
  auto operation = std::make_shared<GpuOperation>(
      device_.get(), pull.memory->group().layer_count);
  task->stream = std::move(*prefix);
  task->operation = operation;
  task->after = after->get();
  operation->Keep(*std::move(after));
  operation->SetFinisher([this, task, operation = operation.get()]() mutable {
    FinishFollow(task.get(), operation);
    // The transfer outlives the task's hold on it: whoever ends a part has one.
    task->operation.reset();
    task->stream.reset();
    task->finder.reset();
    task->layout.reset();
    task.reset();
    operation->Finish();
    engine_->Ended();
  });
  follower_->Add(std::move(task));
  return GpuTransfer(std::move(operation));
}

void GpuImpl::FinishFollow(FollowTask* task, GpuOperation* operation) {
  StreamState& stream = *task->stream;
  // After the last copy: what is still what it was when it was whole.
  const uint32_t confirmed =
      operation->failure().ok() ? stream.Confirm(task->whole) : 0;
  if (confirmed == stream.key_count()) return;
  const absl::Status why = stream.status();
  operation->Fail(absl::AbortedError(
      absl::StrCat("gpu: ", confirmed, " of ", stream.key_count(),
                   " blocks came: ", why.message())));
  for (uint32_t i = confirmed; i < stream.key_count(); ++i) {
    if (task->engine_blocks[i] != kNoEngineBlock) operation->Skip(i);
  }
}

}  // namespace kvferry::sdk
