#include "daemon/memory/segment.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "daemon/memory/populate.h"
#include "daemon/memory/sealed_memfd.h"

#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

namespace kvferry::memory {
namespace {

using config::Toggle;

constexpr mode_t kSegmentMode = 0600;
constexpr uint64_t kSmallPageBytes = 4096;
constexpr int kNodesMax = 1024;

// The policy of a shared file belongs to the file: what is bound here holds
// for pages that others fault in as well.
absl::Status BindToNode(std::byte* data, uint64_t bytes, int node) {
  constexpr int kWordBits = 8 * sizeof(unsigned long);
  unsigned long mask[kNodesMax / kWordBits] = {};
  mask[node / kWordBits] = 1ul << (node % kWordBits);
  // The kernel reads one bit less than it is told.
  if (::syscall(SYS_mbind, data, bytes, MPOL_BIND, mask, kNodesMax + 1, 0) !=
      0) {
    return ErrnoStatus(errno, absl::StrCat("mbind to node ", node));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Segment>> Segment::Make(
    const protocol::SegmentPlan& plan, const SegmentOptions& options,
    const std::atomic<bool>* stop) {
  std::unique_ptr<Segment> segment(new Segment);
  segment->plan_ = plan;
  KVFERRY_RETURN_IF_ERROR(
      WithContext(segment->Create(options, stop),
                  absl::StrCat("segment of ", plan.bytes, " bytes")));
  return segment;
}

absl::Status Segment::Create(const SegmentOptions& options,
                             const std::atomic<bool>* stop) {
  if (options.huge_pages != Toggle::kOff) {
    const absl::Status huge = Fill(/*huge=*/true, options, stop);
    if (huge.ok() || options.huge_pages == Toggle::kOn ||
        absl::IsCancelled(huge)) {
      return huge;
    }
    Note(absl::StrCat("no 2 MiB pages: ", huge.message()));
  }
  return Fill(/*huge=*/false, options, stop);
}

absl::Status Segment::Fill(bool huge, const SegmentOptions& options,
                           const std::atomic<bool>* stop) {
  const uint64_t page = huge ? kHugePageBytes : kSmallPageBytes;
  bytes_ = (plan_.bytes + page - 1) / page * page;
  huge_ = huge;
  KVFERRY_ASSIGN_OR_RETURN(
      writer_,
      MakeSealedMemfd(absl::StrCat("kvferry-segment.", plan_.segment), bytes_,
                      kSegmentMode, huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
  // Mapping reserves huge pages: too few of them is an error here and not
  // SIGBUS later.
  KVFERRY_ASSIGN_OR_RETURN(mapping_, Mapping::Map(writer_.get(), bytes_,
                                                  Mapping::Access::kReadWrite));
  if (options.numa_node != config::kNumaAuto) {
    const absl::Status bound =
        BindToNode(mapping_.data(), bytes_, options.numa_node);
    if (!bound.ok()) Note(bound.message());
  }
  // Advice: takes where the administrator lets shared memory have huge pages.
  if (!huge && options.huge_pages != Toggle::kOff) {
    (void)::madvise(mapping_.data(), bytes_, MADV_HUGEPAGE);
  }
  // Locked as they are populated: mlock afterwards walks all pages once more,
  // 0.88 of the kernel's own populate rate against 1.00 (medians of 25 x
  // 256 MiB, 4 KiB pages, 2-core virtual machine).
  if (options.lock != Toggle::kOff) {
    locked_ = ::mlock2(mapping_.data(), bytes_, MLOCK_ONFAULT) == 0;
    if (!locked_) {
      const absl::Status refused = ErrnoStatus(errno, "not locked: mlock2");
      if (options.lock == Toggle::kOn) return refused;
      Note(refused.message());
    }
  }
  KVFERRY_RETURN_IF_ERROR(
      PopulateInParallel(mapping_.data(), bytes_, PopulateThreads(), stop));
  KVFERRY_ASSIGN_OR_RETURN(reader_, OpenAgain(writer_.get(), O_RDONLY));
  return absl::OkStatus();
}

void Segment::Note(absl::string_view text) {
  absl::StrAppend(&note_, note_.empty() ? "" : "; ", text);
}

}  // namespace kvferry::memory
