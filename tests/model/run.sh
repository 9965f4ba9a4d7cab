#!/bin/bash
# Checks pin_retire.pml and stream.pml: the protocols have no error in any
# configuration, and each mutant is found. Usage: run.sh SCRATCH_DIR
#
# Exits 0 only if every row of the table is as expected. A search that stops
# short (depth, memory) proves nothing and fails.
set -euo pipefail

readonly depth_max=2000000 # a search that goes deeper is reported as cut short
readonly memory_max_mib=2900

if [[ $# -ne 1 || -z $1 ]]; then
  echo "usage: $0 SCRATCH_DIR (made if missing; files in it are replaced)" >&2
  exit 2
fi
models=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
scratch=$(cd "$1" && pwd)
readonly models scratch

for tool in spin "${CC:-cc}"; do
  if ! command -v "$tool" >/dev/null; then
    echo "$tool is not installed, so the protocol is not checked" \
      "(Debian: apt-get install spin gcc)" >&2
    exit 1
  fi
done

# Two blocks make many states; the shorter buffers are enough to find what two
# blocks are there for.
readonly two_blocks='-DBLOCKS=2 -DSTORE_BUFFER=2 -DPIN_BUFFER=1'

# stream.pml: one publisher; two of them, with one reader that does not die and
# a daemon that retires in one step.
readonly single='-DPUBLISHERS=1 -DSLOTS=1 -DSTANDBY=0 -DSTORE_BUFFER=2'
readonly two_of_all="$single -DKEYS=2 -DPOSITIONS=2"
readonly pair='-DPUBLISHERS=2 -DRETIRE_AT_ONCE -DDEATHS=0'
readonly turns="$pair -DSLOTS=1 -DSTANDBY=0 -DSTORE_BUFFER=2"
readonly shared="$turns -DSHARED"
readonly standby="$pair -DSLOTS=2 -DSTANDBY=1 -DSTORE_BUFFER=3"

# name | what its search shall find: ok, error or DEADLOCK | macros
readonly pin_retire=(
  'one client|ok|-DGENERATIONS=4'
  "one client, two blocks|ok|$two_blocks"
  'two clients|ok|-DSESSIONS=2'
  'two threads of one client|ok|-DTHREADS=2'
  'two publishers|ok|-DPUBLISHERS=2'
  "locked pins, two blocks|ok|-DLOCKED_PINS $two_blocks"
  'locked pins, two clients|ok|-DLOCKED_PINS -DSESSIONS=2'
  'locked pins, two threads|ok|-DLOCKED_PINS -DTHREADS=2'
  'no client fence|error|-DMUTANT_NO_CLIENT_FENCE'
  'no daemon fence|error|-DMUTANT_NO_DAEMON_FENCE'
  'no daemon fence, locked pins|error|-DMUTANT_NO_DAEMON_FENCE -DLOCKED_PINS'
  'scan before mark|error|-DMUTANT_SCAN_BEFORE_MARK'
  'generation only|error|-DMUTANT_GENERATION_ONLY'
  'key before residence|error|-DMUTANT_KEY_BEFORE_RESIDENCE'
  "residence before key|error|-DMUTANT_RESIDENCE_BEFORE_KEY $two_blocks"
  "block unchecked|error|-DMUTANT_BLOCK_UNCHECKED $two_blocks"
  'state unchecked|error|-DMUTANT_STATE_UNCHECKED'
  'non-atomic pins|error|-DMUTANT_NON_ATOMIC_PINS -DTHREADS=2 -DCLEAR=0'
  'pending block reused|error|-DMUTANT_PENDING_REUSED -DPUBLISHERS=2'
  'pending validated as ready|error|-DMUTANT_PENDING_VALIDATED'
  'commit before payload|error|-DMUTANT_COMMIT_BEFORE_PAYLOAD'
  'pins dropped at hang-up|error|-DMUTANT_PINS_DROPPED_AT_HANGUP'
)
readonly stream=(
  "one publisher|ok|$single"
  "two keys, two positions|ok|$two_of_all"
  "two readers|ok|$single -DREADERS=2 -DRETIRE_AT_ONCE -DDEATHS=0 -DCLEAR=0"
  "publishers take turns|ok|$turns -DCLEAR=0"
  "one publication of two|ok|$shared"
  "standby|ok|$standby"
  "nobody waits for ever|ok|$single -DROUNDS=2 -DCLEAR=0"
  "nor for one of two|ok|$shared -DROUNDS=1 -DCLEAR=0"
  "nor for a standby|ok|$standby -DROUNDS=1 -DCLEAR=0"
  "no second look|error|-DMUTANT_NO_SECOND_LOOK $shared"
  "key and aux unchecked|error|-DMUTANT_TAG_UNCHECKED $two_of_all"
  "generation ignored|error|-DMUTANT_GENERATION_IGNORED $single"
  "position ignored|error|-DMUTANT_POSITION_IGNORED $single -DPOSITIONS=2"
  "progress kept of fewer|error|-DMUTANT_PROGRESS_KEPT $shared"
  "progress before payload|error|-DMUTANT_PROGRESS_BEFORE_PAYLOAD $single"
  "no store fence|error|-DMUTANT_NO_STORE_FENCE $single"
  "aborted position passed|error|-DMUTANT_ABORT_PASSED $single"
  "abort ignores pins|error|-DMUTANT_ABORT_IGNORES_PINS $single"
  "abort without fence|error|-DMUTANT_NO_ABORT_FENCE $single"
  "writer removed first|error|-DMUTANT_WRITER_REMOVED_FIRST $shared"
  "stalled block freed|error|-DMUTANT_STALL_FREES $turns"
  "no deadline|DEADLOCK|-DMUTANT_NO_DEADLINE $single -DROUNDS=1 -DCLEAR=0"
  "death adopts all|error|-DMUTANT_DEATH_ADOPTS_ALL $single"
  "death adopts nothing|error|-DMUTANT_DEATH_ADOPTS_NOTHING $single"
  "generation reused|error|-DMUTANT_GENERATION_REUSED $single"
  "standby ready too soon|error|-DMUTANT_STANDBY_READY_TOO_SOON $standby"
  "superseded block freed|error|-DMUTANT_STANDBY_FREED $standby"
)

# Prints what the search in `$1` ended with: ok, cut short, or what it found.
outcome() {
  local output=$1/pan.out
  if grep -q 'assertion violated' "$output"; then
    sed -n 's/^pan:1: assertion violated \(.*\) (at depth.*/\1/p' "$output"
  elif grep -q '^pan:1: invalid end state' "$output"; then
    echo 'DEADLOCK'
  elif grep -qE 'max search depth too small|not completed|out of memory' \
    "$output" || ! grep -q 'errors: 0$' "$output"; then
    echo 'CUT SHORT'
  else
    echo 'ok'
  fi
}

passed=0
failed=0
row='%-28s  %-8s  %-8s  %10s  %7s  %s\n'

# Checks the rows that follow the model's name.
check_model() {
  local model=$1
  shift
  local variant name expected macros directory found states seconds result
  local assertion optimize flags
  echo "$model.pml"
  # shellcheck disable=SC2059
  printf "$row" variant expected result states seconds assertion
  for variant in "$@"; do
    IFS='|' read -r name expected macros <<<"$variant"
    read -r -a flags <<<"$macros"
    directory=$scratch/$model/${name//[^a-z]/_}
    rm -rf "$directory"
    mkdir -p "$directory"
    # A mutant is found long before an optimizing compiler would be done.
    optimize=-O0
    [[ $expected != ok ]] || optimize=-O2
    (
      # Chained: errexit is off inside a list that ends in `||`. Arrays of one
      # element make cc warn about spin's own output, hence -w.
      cd "$directory" && cp "$models/$model.pml" . &&
        spin "${flags[@]}" -a "$model.pml" >spin.out &&
        "${CC:-cc}" "$optimize" -w -DSAFETY -DNOCLAIM \
          -DMEMLIM=$memory_max_mib -o pan pan.c
    ) || {
      echo "$name: the model does not build" >&2
      cat "$directory/spin.out" >&2
      exit 1
    }
    # pan exits 0 even when it finds something, and non-zero out of memory.
    (cd "$directory" && ./pan -m$depth_max >pan.out 2>&1) || true

    found=$(outcome "$directory")
    states=$(awk '/states, stored/ { print $1 }' "$directory/pan.out")
    seconds=$(awk '/elapsed time/ { print $4 }' "$directory/pan.out")
    case $found in
      ok | DEADLOCK | 'CUT SHORT') result=$found assertion= ;;
      *) result=error assertion=$found ;;
    esac
    # shellcheck disable=SC2059
    printf "$row" "$name" "$expected" "$result" "${states:--}" \
      "${seconds:--}" "$assertion"
    if [[ $result == "$expected" ]]; then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
      echo "  not as expected: see $directory/pan.out" >&2
    fi
  done
}

check_model pin_retire "${pin_retire[@]}"
check_model stream "${stream[@]}"
echo "$passed passed, $failed failed"
[[ $failed -eq 0 ]]
