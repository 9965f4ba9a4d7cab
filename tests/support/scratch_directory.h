#ifndef KVFERRY_TESTS_SUPPORT_SCRATCH_DIRECTORY_H_
#define KVFERRY_TESTS_SUPPORT_SCRATCH_DIRECTORY_H_

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "base/check.h"

namespace kvferry::test {

// An empty directory on tmpfs, 0700, that goes with everything in it.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    char path[] = "/dev/shm/kvferry-scratch-XXXXXX";
    KVFERRY_CHECK(::mkdtemp(path) != nullptr);
    path_ = path;
  }
  ~ScratchDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const {
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

}  // namespace kvferry::test

#endif  // KVFERRY_TESTS_SUPPORT_SCRATCH_DIRECTORY_H_
