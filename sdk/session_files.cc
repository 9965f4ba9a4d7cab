#include "sdk/session_files.h"

#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace kvferry::sdk {
namespace {

// Of Attached, in this order.
enum Descriptor : size_t {
  kIndex,
  kState,
  kDaemon,
  kClient,
  kDoorbell,
  kProgress,
  kCount
};

absl::Status CheckField(const char* file, const char* field, uint64_t there,
                        uint64_t expected) {
  if (there == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      file, " file: ", field, " is ", there, ", the daemon said ", expected));
}

// The magic and the version, which is stored last and is zero until then.
template <typename Header>
absl::Status CheckHeader(const char* file, const Header& header, uint64_t magic,
                         absl::Time deadline) {
  uint32_t version = header.layout_version.load(std::memory_order_acquire);
  while (version == 0) {
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat(file, " file: its header was not finished in time"));
    }
    absl::SleepFor(absl::Milliseconds(1));
    version = header.layout_version.load(std::memory_order_acquire);
  }
  if (version != protocol::kLayoutVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " file: layout version ", version,
                     ", this library knows ", protocol::kLayoutVersion));
  }
  if (header.magic != magic) {
    return absl::InvalidArgumentError(
        absl::StrCat(file, " file: magic 0x", absl::Hex(header.magic),
                     ", must be 0x", absl::Hex(magic)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Mapping> MapFile(const char* file, int fd, uint64_t bytes,
                                Mapping::Access access) {
  absl::StatusOr<Mapping> mapping = Mapping::Map(fd, bytes, access);
  if (!mapping.ok()) {
    return WithContext(mapping.status(), absl::StrCat(file, " file"));
  }
  return mapping;
}

// A lock belongs to an open file description. The one that came over the
// socket is shared with the daemon, so a new one is made.
absl::StatusOr<UniqueFd> ReopenAndLock(int fd) {
  const std::string path = absl::StrCat("/proc/self/fd/", fd);
  UniqueFd own(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!own.valid()) {
    return ErrnoStatus(errno, absl::StrCat("client file: re-opening ", path));
  }
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  if (::fcntl(own.get(), F_OFD_SETLK, &lock) != 0) {
    return ErrnoStatus(errno, "client file: locking its first byte");
  }
  return own;
}

// Against every further writable mapping and every write, for good.
absl::Status SealProgress(int fd) {
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, "session progress file: sealing it");
}

// Every block number below the capacity is the host's or one pool's, so that
// nothing that is looked up by such a number goes astray.
absl::Status CheckPools(const protocol::IndexHeader& index) {
  if (index.host_blocks == 0 || index.host_blocks > index.block_capacity ||
      index.gpu_pool_count > protocol::kGpuPoolsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("index file: ", index.host_blocks, " host blocks of ",
                     index.block_capacity, ", and ", index.gpu_pool_count,
                     " GPU pools (at most ", protocol::kGpuPoolsMax, ")"));
  }
  uint64_t end = index.host_blocks;  // of the numbers before
  for (uint32_t i = 0; i < index.gpu_pool_count; ++i) {
    const protocol::GpuPoolRecord& pool = index.gpu_pools[i];
    if (pool.group >= index.group_count || pool.first_block != end ||
        pool.block_count == 0 ||
        end + pool.block_count > index.block_capacity) {
      return absl::InvalidArgumentError(absl::StrCat(
          "index file: GPU pool ", i + 1, " has blocks [", pool.first_block,
          ", +", pool.block_count, ") of ", index.block_capacity,
          ", must begin at ", end, ", and is of group ", pool.group, " of ",
          index.group_count));
    }
    end += pool.block_count;
  }
  if (end == index.block_capacity) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("index file: ", index.host_blocks,
                   " host blocks and those of ", index.gpu_pool_count,
                   " GPU pools are ", end, ", must be ", index.block_capacity));
}

}  // namespace

SessionMemory SessionFiles::memory() const {
  SessionMemory memory;
  memory.index = index.At<const protocol::IndexHeader>(0);
  memory.daemon = daemon.At<const protocol::SessionDaemonHeader>(0);
  memory.replies =
      daemon.At<const protocol::ReplyRecord>(protocol::kReplyRingOffset);
  memory.client = client.At<protocol::SessionClientHeader>(0);
  memory.submissions =
      client.At<protocol::SubmitRecord>(protocol::kSubmitRingOffset);
  memory.touches = client.At<protocol::TouchRecord>(protocol::kTouchRingOffset);
  memory.pins = client.At<protocol::PinCell>(protocol::kPinsOffset);
  memory.progress = progress.At<protocol::ProgressHeader>(0);
  return memory;
}

absl::StatusOr<SessionFiles> OpenSessionFiles(
    const protocol::wire::AttachedT& attached, std::vector<UniqueFd> fds,
    absl::Time deadline) {
  if (fds.size() != kCount) {
    return absl::InvalidArgumentError(
        absl::StrCat("attached: ", fds.size(), " descriptors, must be ",
                     static_cast<size_t>(kCount)));
  }
  if (attached.bucket_count == 0 || attached.block_capacity == 0 ||
      attached.block_capacity > protocol::kBlocksMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attached: ", attached.block_capacity, " blocks (at most ",
        protocol::kBlocksMax, ") and ", attached.bucket_count, " buckets"));
  }
  SessionFiles files;
  KVFERRY_ASSIGN_OR_RETURN(
      files.index, MapFile("index", fds[kIndex].get(),
                           protocol::IndexFileBytes(attached.bucket_count),
                           Mapping::Access::kReadOnly));
  KVFERRY_ASSIGN_OR_RETURN(
      files.state, MapFile("state", fds[kState].get(),
                           protocol::StateFileBytes(attached.block_capacity),
                           Mapping::Access::kReadOnly));
  KVFERRY_ASSIGN_OR_RETURN(
      files.daemon,
      MapFile("session daemon", fds[kDaemon].get(),
              protocol::kSessionDaemonFileBytes, Mapping::Access::kReadOnly));
  KVFERRY_ASSIGN_OR_RETURN(files.lock, ReopenAndLock(fds[kClient].get()));
  KVFERRY_ASSIGN_OR_RETURN(
      files.client,
      MapFile("session client", files.lock.get(),
              protocol::SessionClientFileBytes(attached.block_capacity),
              Mapping::Access::kReadWrite));
  files.doorbell = std::move(fds[kDoorbell]);
  KVFERRY_ASSIGN_OR_RETURN(
      files.progress,
      MapFile("session progress", fds[kProgress].get(),
              protocol::kProgressFileBytes, Mapping::Access::kReadWrite));

  const auto& index = *files.index.At<const protocol::IndexHeader>(0);
  KVFERRY_RETURN_IF_ERROR(
      CheckHeader("index", index, protocol::kIndexMagic, deadline));
  KVFERRY_RETURN_IF_ERROR(
      CheckField("index", "epoch", index.epoch, attached.epoch));
  KVFERRY_RETURN_IF_ERROR(CheckField(
      "index", "namespace id", index.namespace_id, attached.namespace_id));
  KVFERRY_RETURN_IF_ERROR(CheckField("index", "block capacity",
                                     index.block_capacity,
                                     attached.block_capacity));
  KVFERRY_RETURN_IF_ERROR(CheckField(
      "index", "bucket count", index.bucket_count, attached.bucket_count));
  if (index.group_count == 0 || index.group_count > protocol::kGroupsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("index file: ", index.group_count,
                     " groups, must be 1 to ", protocol::kGroupsMax));
  }
  KVFERRY_RETURN_IF_ERROR(CheckPools(index));
  for (uint32_t g = 0; g < index.group_count; ++g) {
    const protocol::GroupRecord& group = index.groups[g];
    if (group.block_tokens == 0 || group.slice_count == 0 ||
        group.slice_count > protocol::kSlicesMax ||
        group.blocks_per_segment == 0 ||
        group.page_bytes > protocol::kBlockBytesMax ||
        group.stride_bytes < group.page_bytes * group.slice_count ||
        uint64_t{group.first_block} + group.block_count > index.host_blocks) {
      return absl::InvalidArgumentError(absl::StrCat(
          "index file: group ", g, " has ", group.block_tokens,
          " tokens a block, ", group.slice_count, " slices of ",
          group.page_bytes, " bytes every ", group.stride_bytes, ", blocks [",
          group.first_block, ", +", group.block_count, ") of ",
          index.host_blocks, ", ", group.blocks_per_segment, " a segment"));
    }
  }

  const auto& state = *files.state.At<const protocol::StateHeader>(0);
  KVFERRY_RETURN_IF_ERROR(
      CheckHeader("state", state, protocol::kStateMagic, deadline));
  KVFERRY_RETURN_IF_ERROR(CheckField("state", "block capacity",
                                     state.block_capacity,
                                     attached.block_capacity));

  const auto& daemon = *files.daemon.At<const protocol::SessionDaemonHeader>(0);
  KVFERRY_RETURN_IF_ERROR(
      CheckHeader("session daemon", daemon, protocol::kDaemonMagic, deadline));
  KVFERRY_RETURN_IF_ERROR(
      CheckField("session daemon", "epoch", daemon.epoch, attached.epoch));
  KVFERRY_RETURN_IF_ERROR(CheckField("session daemon", "session",
                                     daemon.session, attached.session));

  const auto& client = *files.client.At<const protocol::SessionClientHeader>(0);
  KVFERRY_RETURN_IF_ERROR(
      CheckHeader("session client", client, protocol::kClientMagic, deadline));
  KVFERRY_RETURN_IF_ERROR(
      CheckField("session client", "epoch", client.epoch, attached.epoch));
  KVFERRY_RETURN_IF_ERROR(CheckField("session client", "session",
                                     client.session, attached.session));

  const auto& progress = *files.progress.At<const protocol::ProgressHeader>(0);
  KVFERRY_RETURN_IF_ERROR(CheckHeader("session progress", progress,
                                      protocol::kProgressMagic, deadline));
  KVFERRY_RETURN_IF_ERROR(
      CheckField("session progress", "epoch", progress.epoch, attached.epoch));
  KVFERRY_RETURN_IF_ERROR(CheckField("session progress", "session",
                                     progress.session, attached.session));
  KVFERRY_RETURN_IF_ERROR(SealProgress(fds[kProgress].get()));
  return files;
}

}  // namespace kvferry::sdk
