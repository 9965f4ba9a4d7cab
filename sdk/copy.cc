#include "kvferry/copy.h"

#include <cstring>

#include "sdk/copy_kernels.h"

namespace kvferry {

void CopyBytes(void* target, const void* source, size_t bytes) {
  if (bytes >= sdk::kStreamingCopyBytesMin) {
    sdk::LargeCopyKernel().copy(target, source, bytes);
  } else if (bytes != 0) {
    std::memcpy(target, source, bytes);
  }
}

}  // namespace kvferry
