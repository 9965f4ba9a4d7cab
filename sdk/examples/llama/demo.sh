#!/usr/bin/env bash
# Prefills a prompt in one process, decodes it in another from the KV that was
# handed over, and shows that nothing but time has changed; then four cases in
# which the hand-over must not be complete. Exits non-zero if any check fails.
#
#   demo.sh BUILD_DIRECTORY [PROMPT]
#
# The programs are taken from the build directory, or from KVFERRYD, KVFERRYCTL,
# LLAMA_PREFILL and LLAMA_DECODE. Everything else lives in a temporary directory
# that is removed at the end.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
if (($# < 1 || $# > 2)); then
  echo "usage: demo.sh BUILD_DIRECTORY [PROMPT]" >&2
  exit 2
fi
readonly build=$1
readonly prompt=${2:-$here/prompt.txt}
readonly daemon=${KVFERRYD:-$build/daemon/kvferryd}
readonly control=${KVFERRYCTL:-$build/tools/kvferryctl/kvferryctl}
readonly prefill=${LLAMA_PREFILL:-$build/sdk/examples/llama/llama_prefill}
readonly decode=${LLAMA_DECODE:-$build/sdk/examples/llama/llama_decode}
for program in "$daemon" "$control" "$prefill" "$decode"; do
  if [[ ! -x $program ]]; then
    echo "demo.sh: $program is not there; build it first" >&2
    exit 2
  fi
done

readonly new_tokens=32
# The daemon's files are shared memory: on a disk they would be written out.
base=${TMPDIR:-/tmp}
if [[ -d /dev/shm && -w /dev/shm ]]; then base=/dev/shm; fi
work=$(mktemp -d "$base/kvferry-demo.XXXXXX")
readonly work
readonly socket=$work/kvferryd.sock
daemon_pid=
failures=0

finish() {
  local status=$?
  if [[ -n $daemon_pid ]]; then
    kill -TERM "$daemon_pid" 2>/dev/null || true
    wait "$daemon_pid" 2>/dev/null || true
  fi
  if ((status != 0)) && [[ -s $work/daemon.log ]]; then
    printf '\nThe daemon said:\n' >&2
    tail -n 50 "$work/daemon.log" >&2
  fi
  rm -rf "$work"
}
trap finish EXIT

# --- helpers ----------------------------------------------------------------

start_daemon() {
  # Two namespaces: whole blocks, and blocks that ranks write in slices.
  "$daemon" --socket "$socket" --directory "$work/daemon" --pool-size 64MiB \
    --namespace-quota 32MiB >"$work/daemon.log" 2>&1 &
  daemon_pid=$!
  local deadline=$((SECONDS + 30))
  until "$control" --socket "$socket" status --json >/dev/null 2>&1; do
    if ((SECONDS > deadline)) || ! kill -0 "$daemon_pid" 2>/dev/null; then
      echo "demo.sh: the daemon did not start" >&2
      exit 1
    fi
    sleep 0.02
  done
}

# Programs print one flat JSON object; `field NAME <<<"$json"` is one value.
field() { grep -oP "\"$1\":(\"\K[^\"]*|\[\K[^]]*|\K[^,}]*)"; }

# Both take a name for the keys ("salt"), so that cases do not meet in the
# cache, and whatever further options.
run_prefill() {
  local salt=$1
  shift
  "$prefill" --socket "$socket" --prompt "$prompt" --cache-salt "$salt" "$@"
}
run_decode() {
  local salt=$1
  shift
  "$decode" --socket "$socket" --prompt "$prompt" --cache-salt "$salt" \
    --tokens "$new_tokens" "$@"
}

heading() { printf '\n%s\n' "$1"; }
show() { printf '  %-42s %s\n' "$1" "$2"; }
# check WHAT CONDITION...: the condition is a command.
check() {
  local what=$1
  shift
  if "$@"; then
    show "$what" ok
  else
    show "$what" "FAILED ($*)"
    failures=$((failures + 1))
  fi
}
same() { [[ $1 == "$2" ]]; }
differs() { [[ $1 != "$2" ]]; }

# Tokens and the bits of all logits, to be compared as text.
tokens_of() { field tokens <<<"$1"; }
digest_of() { field logits_digest <<<"$1"; }
hit_of() { field not_recomputed <<<"$1"; }
check_equal_to_cold() {
  check "tokens equal" same "$(tokens_of "$1")" "$(tokens_of "$cold")"
  check "logits equal, bit for bit" same "$(digest_of "$1")" \
    "$(digest_of "$cold")"
}

# --- the main job -----------------------------------------------------------

start_daemon
prompt_tokens=$(wc -c <"$prompt")
readonly prompt_tokens
heading "A prompt of $prompt_tokens tokens, $new_tokens new ones"

# Another chunk size than the prefill's, since results must not depend on it.
cold=$("$decode" --no-cache --prompt "$prompt" --tokens "$new_tokens" \
  --chunk-tokens 100)
published=$(run_prefill main)
ticket=$(field ticket <<<"$published")
warm=$(run_decode main --ticket "$ticket")

readonly block_tokens=16
readonly full_tokens=$((prompt_tokens / block_tokens * block_tokens))
# Even after a full hit the last token is computed, for its logits.
readonly hit_expected=$((full_tokens < prompt_tokens ? full_tokens \
  : prompt_tokens - 1))
show "blocks published by the prefill process" \
  "$(field committed_blocks <<<"$published") of $(field blocks <<<"$published")"
show "time to publish them" "$(field publish_ms <<<"$published") ms"
show "tokens not recomputed" "$(hit_of "$warm") of $prompt_tokens"
show "hand-over (ticket to KV in own memory)" \
  "$(field hand_over_ms <<<"$warm") ms"
show "time to first token without the cache" \
  "$(field first_token_ms <<<"$cold") ms"
show "time to first token with it" "$(field first_token_ms <<<"$warm") ms"
check_equal_to_cold "$warm"
check "every full block was taken over" same "$(hit_of "$warm")" \
  "$hit_expected"

# --- what must not go through -----------------------------------------------

heading "A flipped byte in the KV that was handed over"
spoiled=$(run_decode main --flip-byte 2050)
check "logits differ" differs "$(digest_of "$spoiled")" "$(digest_of "$cold")"

heading "A middle block evicted"
published=$(run_prefill evicted --no-ticket --print-keys)
IFS=, read -ra keys <<<"$(field keys <<<"$published" | tr -d '"')"
readonly middle=$((${#keys[@]} / 2))
"$control" --socket "$socket" evict --namespace llama-example \
  --prefix "${keys[middle]}" >"$work/evict.log"
shortened=$(run_decode evicted)
show "tokens not recomputed" "$(hit_of "$shortened") of $prompt_tokens"
check "the hit ends where the block was" same "$(hit_of "$shortened")" \
  $((middle * block_tokens))
check_equal_to_cold "$shortened"
refilled=$(run_prefill evicted --no-ticket)
check "a second prefill computes only the rest" same \
  "$(field restored_tokens <<<"$refilled")" $((middle * block_tokens))
check "after it the hit is whole again" same \
  "$(hit_of "$(run_decode evicted)")" "$hit_expected"

heading "A prefill killed before it commits"
died=0
run_prefill killed --exit-before-commit >/dev/null 2>&1 || died=$?
check "it died by SIGKILL" same "$died" $((128 + 9))
missed=$(run_decode killed)
check "a miss" same "$(hit_of "$missed")" 0
check_equal_to_cold "$missed"
published=$(run_prefill killed --no-ticket)
check "the next prefill publishes every block" same \
  "$(field committed_blocks <<<"$published")" \
  "$(field blocks <<<"$published")"

# rank SALT INDEX OPTION...: one of two that write half of the heads each.
run_rank() {
  local salt=$1 index=$2
  shift 2
  run_prefill "$salt" --namespace llama-example-ranks --slices 2 \
    --slice-first "$index" --slice-count 1 --instance 7 "$@"
}
decode_ranks() {
  run_decode "$1" --namespace llama-example-ranks --slices 2
}

heading "Two ranks, of which one does not commit"
run_rank one-rank 0 --publication 1 >"$work/rank0.json" &
rank0_pid=$!
died=0
run_rank one-rank 1 --publication 1 --exit-before-commit >/dev/null 2>&1 ||
  died=$?
check "rank 1 died by SIGKILL" same "$died" $((128 + 9))
check "rank 0 ran to its end" wait "$rank0_pid"
missed=$(decode_ranks one-rank)
check "a miss" same "$(hit_of "$missed")" 0
check_equal_to_cold "$missed"

heading "Two ranks that both commit"
run_rank two-ranks 0 --publication 2 >"$work/rank0.json" &
rank0_pid=$!
run_rank two-ranks 1 --publication 2 >"$work/rank1.json" &
rank1_pid=$!
check "rank 0 ran to its end" wait "$rank0_pid"
check "rank 1 ran to its end" wait "$rank1_pid"
joined=$(decode_ranks two-ranks)
show "tokens not recomputed" "$(hit_of "$joined") of $prompt_tokens"
check "every full block was taken over" same "$(hit_of "$joined")" \
  "$hit_expected"
check_equal_to_cold "$joined"

heading "The daemon ends"
kill -TERM "$daemon_pid"
ended=0
wait "$daemon_pid" || ended=$?
daemon_pid=
check "with status 0" same "$ended" 0

if ((failures > 0)); then
  printf '\n%d checks failed.\n' "$failures"
  exit 1
fi
printf '\nAll checks passed: tokens equal, in every case.\n'
