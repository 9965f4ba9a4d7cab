#!/usr/bin/env bash
# Runs the device suite on a GPU under NVIDIA's compute-sanitizer: kernels that
# read or write where they must not, or read what nobody wrote, fail the run.
# (Not its racecheck and synccheck, which look at shared memory and barriers:
# our kernels have neither.) Needs a GPU, its driver, and compute-sanitizer (the toolkit's package
# cuda-sanitizer); a build with CUDA in it (`./dev build release`).
#
# usage: compute_sanitizer.sh [BUILD_DIRECTORY [GOOGLETEST_ARGUMENT...]]
#        (build/release unless told)
#
# Environment  KVFERRY_TEST_DEVICE_UUID  which GPU; the first unless told
#              COMPUTE_SANITIZER         the program, if not in PATH
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${1:-$root/build/release}
shift || true

fail() {
  printf 'compute_sanitizer: %s\n' "$*" >&2
  exit 2
}

sanitizer=${COMPUTE_SANITIZER:-}
if [[ -z $sanitizer ]]; then
  PATH=$PATH:/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer
  sanitizer=$(command -v compute-sanitizer) ||
    fail "no compute-sanitizer in PATH or /usr/local/cuda"
fi
test=$build/tests/unit/gpu/kvferry_gpu_device_test
[[ -x $test ]] || fail "$test is not built: ./dev build release kvferry_gpu_device_test"

export KVFERRY_TEST_DEVICE=cuda
if [[ -z ${KVFERRY_TEST_DEVICE_UUID:-} ]]; then
  KVFERRY_TEST_DEVICE_UUID=$(nvidia-smi --query-gpu=uuid --format=csv,noheader |
    head -n 1) || fail "nvidia-smi names no GPU; set KVFERRY_TEST_DEVICE_UUID"
  export KVFERRY_TEST_DEVICE_UUID
fi

# In this order: memcheck says plainly what the other would say in riddles.
for tool in memcheck initcheck; do
  printf '\n== %s\n' "$tool"
  # Errors that calls answer are what the tests of refusals ask for.
  "$sanitizer" --tool "$tool" --error-exitcode 1 --report-api-errors no \
    "$test" --gtest_filter='DeviceTransferTest.*:DeviceStreamTest.*' "$@"
done
