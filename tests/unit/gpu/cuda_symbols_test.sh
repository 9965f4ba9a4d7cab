#!/usr/bin/env bash
# Goal    CUDA is inside what links gpu/, and nowhere else: no program of ours
#         needs a library of NVIDIA's to start, libkvferry shows an engine no
#         symbol of CUDA's that could take the place of its own, and kvferryd
#         has none of it at all.
# Method  readelf and nm on the built files.
#
# usage: cuda_symbols_test.sh KVFERRYD FILE...
set -euo pipefail

fail() {
  printf 'cuda_symbols_test: %s\n' "$*" >&2
  exit 1
}

cuda='^_*(cuda|cu[A-Z]|nv)'
daemon=$1
for file in "$@"; do
  needed=$(readelf -dW "$file" |
    sed -n 's/.*NEEDED.*\[\(.*\)\].*/\1/p' | grep -E '^lib(cu|nv)' || true)
  [[ -z $needed ]] || fail "$file needs $needed"
  # Defined ones could be taken by, undefined ones would have to come from, the
  # engine's CUDA.
  shown=$(nm -D --format=posix "$file" | cut -d ' ' -f 1 |
    grep -E "$cuda" || true)
  [[ -z $shown ]] || fail "$file shows or wants ${shown//$'\n'/ }"
done

# Stripped of symbols it would prove nothing.
nm "$daemon" | grep ' T main$' >/dev/null || fail "$daemon has no symbols"
inside=$(nm --format=posix "$daemon" | cut -d ' ' -f 1 |
  grep -E '^_*cu(da)?[A-Z]' || true)
[[ -z $inside ]] || fail "$daemon has ${inside//$'\n'/ }"
printf '%d files, none of them wants CUDA from outside\n' $#
