#include "tools/kvferry-replay/job_channel.h"

#include <sys/socket.h>

#include <cerrno>
#include <type_traits>

#include "base/status.h"

namespace kvferry::replay {
namespace {

struct JobHeader {
  uint32_t request;
  uint32_t line;
  uint64_t input_tokens;
  uint64_t id_count;
};
static_assert(std::is_trivially_copyable_v<JobHeader>);

struct MessageHeader {
  WorkerEvent event;
  absl::StatusCode code;
  uint32_t text_bytes;
  JobResult result;
};
static_assert(std::is_trivially_copyable_v<MessageHeader>);

absl::Status CutOff() {
  return absl::UnavailableError("the other side went away in mid-message");
}

}  // namespace

absl::Status JobChannel::Send(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t sent = ::send(fd_.get(), at, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return ErrnoStatus(errno, "send between replay processes");
    at += sent;
    bytes -= static_cast<size_t>(sent);
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> JobChannel::Receive(void* data, size_t bytes) {
  char* at = static_cast<char*>(data);
  const size_t whole = bytes;
  while (bytes > 0) {
    const ssize_t received = ::recv(fd_.get(), at, bytes, 0);
    if (received < 0 && errno == EINTR) continue;
    if (received < 0) {
      return ErrnoStatus(errno, "receive between replay processes");
    }
    if (received == 0) {
      if (bytes == whole) return false;
      return CutOff();
    }
    at += received;
    bytes -= static_cast<size_t>(received);
  }
  return true;
}

absl::Status JobChannel::SendJob(const Job& job) {
  const JobHeader header{job.request, job.line, job.input_tokens,
                         job.hash_ids.size()};
  KVFERRY_RETURN_IF_ERROR(Send(&header, sizeof(header)));
  return Send(job.hash_ids.data(), job.hash_ids.size() * sizeof(uint64_t));
}

absl::StatusOr<std::optional<Job>> JobChannel::ReceiveJob() {
  JobHeader header{};
  KVFERRY_ASSIGN_OR_RETURN(const bool there, Receive(&header, sizeof(header)));
  if (!there) return std::optional<Job>();
  Job job{header.request, header.line, header.input_tokens, {}};
  job.hash_ids.resize(header.id_count);
  if (header.id_count > 0) {
    KVFERRY_ASSIGN_OR_RETURN(
        const bool whole,
        Receive(job.hash_ids.data(), header.id_count * sizeof(uint64_t)));
    if (!whole) return CutOff();
  }
  return std::optional<Job>(std::move(job));
}

absl::Status JobChannel::SendMessage(const WorkerMessage& message) {
  const absl::string_view text = message.status.message();
  const MessageHeader header{message.event, message.status.code(),
                             static_cast<uint32_t>(text.size()),
                             message.result};
  KVFERRY_RETURN_IF_ERROR(Send(&header, sizeof(header)));
  return Send(text.data(), text.size());
}

absl::StatusOr<std::optional<WorkerMessage>> JobChannel::ReceiveMessage() {
  MessageHeader header{};
  KVFERRY_ASSIGN_OR_RETURN(const bool there, Receive(&header, sizeof(header)));
  if (!there) return std::optional<WorkerMessage>();
  std::string text(header.text_bytes, '\0');
  if (header.text_bytes > 0) {
    KVFERRY_ASSIGN_OR_RETURN(const bool whole,
                             Receive(text.data(), header.text_bytes));
    if (!whole) return CutOff();
  }
  return std::optional<WorkerMessage>(WorkerMessage{
      header.event, header.result, absl::Status(header.code, text)});
}

void JobChannel::CloseJobs() { ::shutdown(fd_.get(), SHUT_WR); }

}  // namespace kvferry::replay
