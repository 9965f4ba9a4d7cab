#include "sdk/progress_files.h"

#include <algorithm>
#include <atomic>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "protocol/control_generated.h"

namespace kvferry::sdk {
namespace {

namespace wire = protocol::wire;

static_assert(protocol::kSessionsPerNamespaceMax == 256,
              "a file's number is 8 bits wide");

// Of one question: a daemon that is there answers within one turn of its loop.
constexpr absl::Duration kAskTimeout = absl::Milliseconds(20);
constexpr absl::Duration kAskStepMin = absl::Milliseconds(5);
constexpr absl::Duration kAskStepMax = absl::Milliseconds(500);

// Errors  what the daemon answered; kInvalidArgument  a file that is none
absl::StatusOr<std::shared_ptr<const ProgressFile>> Fetch(
    Connection* connection, uint64_t epoch, uint8_t number,
    const ProgressFile* stale) {
  wire::GetProgressT request;
  request.file = number;
  KVFERRY_ASSIGN_OR_RETURN(
      Connection::Reply reply,
      connection->Call(std::move(request), absl::Now() + kAskTimeout));
  KVFERRY_ASSIGN_OR_RETURN(
      const std::unique_ptr<wire::ProgressFileT> body,
      Connection::TakeBody<wire::ProgressFileT>(std::move(reply.message)));
  if (stale != nullptr && stale->session() == body->session) return nullptr;
  if (reply.fds.size() != 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "progress file: ", reply.fds.size(), " descriptors, must be 1"));
  }
  KVFERRY_ASSIGN_OR_RETURN(
      Mapping mapping,
      Mapping::Map(reply.fds[0].get(), protocol::kProgressFileBytes,
                   Mapping::Access::kReadOnly));
  const auto* header = mapping.At<const protocol::ProgressHeader>(0);
  if (header->layout_version.load(std::memory_order_acquire) !=
          protocol::kLayoutVersion ||
      header->magic != protocol::kProgressMagic || header->epoch != epoch ||
      header->session != body->session) {
    return absl::InvalidArgumentError(
        absl::StrCat("progress file ", number,
                     ": its header is not that of session ", body->session));
  }
  return std::make_shared<const ProgressFile>(header, std::move(mapping));
}

}  // namespace

std::shared_ptr<const ProgressFile> ProgressFiles::Find(uint8_t file) const {
  MutexLock lock(&mutex_);
  return entries_[file].file;
}

bool ProgressFiles::MayAsk(uint8_t number, const ProgressFile* stale) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[number];
  if (entry.file.get() != stale) return false;
  const absl::Time now = absl::Now();
  if (now < entry.ask_again) return false;
  entry.ask_step =
      std::min(std::max(entry.ask_step * 2, kAskStepMin), kAskStepMax);
  entry.ask_again = now + entry.ask_step;
  return true;
}

void ProgressFiles::Replace(uint8_t number,
                            std::shared_ptr<const ProgressFile> file) {
  MutexLock lock(&mutex_);
  // The old one, which may be unmapped by this, goes with `file`.
  std::swap(entries_[number].file, file);
  entries_[number].ask_again = absl::InfinitePast();
  entries_[number].ask_step = absl::ZeroDuration();
}

std::shared_ptr<const ProgressFile> ProgressFiles::Ask(
    Connection* connection, uint64_t epoch, uint8_t file,
    const ProgressFile* stale) {
  if (connection == nullptr || connection->closed()) return Find(file);
  MutexLock lock(&ask_mutex_);
  if (MayAsk(file, stale)) {
    absl::StatusOr<std::shared_ptr<const ProgressFile>> fetched =
        Fetch(connection, epoch, file, stale);
    // Whatever was wrong, there is nothing to follow there now; the index still
    // says when a block is ready.
    if (fetched.ok() && *fetched != nullptr) {
      Replace(file, *std::move(fetched));
    }
  }
  return Find(file);
}

void ProgressFiles::Enter(uint8_t file,
                          const protocol::ProgressHeader* header) {
  Replace(file, std::make_shared<const ProgressFile>(header));
}

}  // namespace kvferry::sdk
