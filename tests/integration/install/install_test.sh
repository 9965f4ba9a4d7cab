#!/usr/bin/env bash
# Goal    Programs outside the tree, one in C++ and one in C, build against the
#         installed SDK, by CMake and by pkg-config, and run.
# Method  Install into a scratch prefix, move it (an installed tree may be
#         packaged elsewhere), build tests/integration/install/consumer and
#         c_consumer both ways, run them with a socket where nobody listens.
#
# usage: install_test.sh BUILD_DIRECTORY CXX CC LIBRARY_FOLDER
set -euo pipefail

build=$1
cxx=$2
cc=$3
library_folder=$4
consumer=$(cd "$(dirname "${BASH_SOURCE[0]}")/consumer" && pwd)
c_consumer=$(cd "$(dirname "${BASH_SOURCE[0]}")/c_consumer" && pwd)
scratch=$(mktemp -d "${TMPDIR:-/tmp}/kvferry_install.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

check() {
  printf '%s: ' "$1"
  shift
  "$@" || {
    printf 'install_test: this failed: %s\n' "$*" >&2
    exit 1
  }
}

cmake --install "$build" --prefix "$scratch/first" >"$scratch/install.log"
prefix=$scratch/prefix
mv "$scratch/first" "$prefix"
libraries=$prefix/$library_folder

# Only the public headers are installed, each of them.
diff <(cd "$consumer/../../../../include" && find kvferry -name '*.h' | sort) \
  <(cd "$prefix/include" && find . -type f | sed 's|^\./||' | sort)

# No path of the build or of its source may be left in what clients read.
if grep -rlF -e "$build" -e "$consumer" -e "$c_consumer" \
  "$libraries/cmake" "$libraries/pkgconfig"; then
  printf 'install_test: the files above name the build tree\n' >&2
  exit 1
fi

cmake -S "$consumer" -B "$scratch/by_cmake" -G Ninja \
  -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_CXX_FLAGS="-Wall -Wextra -Werror" >"$scratch/cmake.log"
cmake --build "$scratch/by_cmake" >>"$scratch/cmake.log" || {
  cat "$scratch/cmake.log"
  exit 1
}
check "by CMake" "$scratch/by_cmake/consumer" "$scratch/no.sock"

export PKG_CONFIG_PATH=$libraries/pkgconfig
mapfile -t flags < <(pkg-config --cflags --libs kvferry | xargs -n 1)
"$cxx" -std=c++20 -Wall -Wextra -Werror "$consumer/consumer.cc" \
  -o "$scratch/by_pkg_config" "${flags[@]}" -Wl,-rpath,"$libraries"
check "by pkg-config" "$scratch/by_pkg_config" "$scratch/no.sock"

# In C, with a compiler for nothing else.
cmake -S "$c_consumer" -B "$scratch/c_by_cmake" -G Ninja \
  -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" \
  -DCMAKE_C_FLAGS="-pedantic -Wall -Wextra -Werror" >"$scratch/c_cmake.log"
cmake --build "$scratch/c_by_cmake" >>"$scratch/c_cmake.log" || {
  cat "$scratch/c_cmake.log"
  exit 1
}
check "C by CMake" "$scratch/c_by_cmake/consumer" "$scratch/no.sock"

mapfile -t flags < <(pkg-config --cflags --libs kvferry-c | xargs -n 1)
"$cc" -std=c99 -pedantic -Wall -Wextra -Werror "$c_consumer/consumer.c" \
  -o "$scratch/c_by_pkg_config" "${flags[@]}" -Wl,-rpath,"$libraries"
check "C by pkg-config" "$scratch/c_by_pkg_config" "$scratch/no.sock"

# It asks for the C library by the name that stays, and for no other of ours.
needed=$(readelf -d "$scratch/c_by_pkg_config" |
  sed -n 's/.*NEEDED.*\[\(libkvferry[^]]*\)\].*/\1/p')
if [[ $needed != libkvferry-c.so.1 ]]; then
  printf 'install_test: the C program needs: %s\n' "$needed" >&2
  exit 1
fi

# What libkvferry exports is ours: a stray symbol could replace one of the
# program's. (Weak symbols are inline functions that every library may carry.)
strangers=$(nm -DC --defined-only "$libraries/libkvferry.so" |
  awk '$2 ~ /^[TDBR]$/' | grep -v ' kvferry::' || true)
if [[ -n $strangers ]]; then
  printf 'install_test: libkvferry exports what is not its own:\n%s\n' \
    "$strangers" >&2
  exit 1
fi

# The installed programs find the library beside them.
for program in "$prefix"/bin/*; do
  check "$(basename "$program")" "$program" --help >"$scratch/help.log"
done
printf 'installed, built and run both ways\n'
