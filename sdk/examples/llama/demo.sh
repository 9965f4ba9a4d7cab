#!/usr/bin/env bash
# Streams a prompt's KV from one process that computes it to another that goes
# on from it, and shows when what happened and that nothing but time has
# changed; then the cases in which the hand-over must not be complete. Exits
# non-zero if any check fails.
#
#   demo.sh BUILD_DIRECTORY [PROMPT]
#
# The programs are taken from the build directory, or from KVFERRYD, KVFERRYCTL,
# LLAMA_PREFILL and LLAMA_DECODE. The time line's picture stays in the build
# directory; everything else lives in a temporary directory that is removed.
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
readonly picture=$build/demo-timeline.svg
for program in "$daemon" "$control" "$prefill" "$decode"; do
  if [[ ! -x $program ]]; then
    echo "demo.sh: $program is not there; build it first" >&2
    exit 2
  fi
done
if ! command -v python3 >/dev/null; then
  echo "demo.sh: python3 is not there; it draws the time line" >&2
  exit 2
fi

readonly new_tokens=40
readonly block_tokens=16
readonly chunk_tokens=256
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

# wait_until WHAT CONDITION...: at most 30 s.
wait_until() {
  local what=$1 deadline=$((SECONDS + 30))
  shift
  until "$@"; do
    if ((SECONDS > deadline)) || ! kill -0 "$daemon_pid" 2>/dev/null; then
      echo "demo.sh: $what did not happen" >&2
      exit 1
    fi
    sleep 0.02
  done
}
daemon_answers() {
  "$control" --socket "$socket" status --json >/dev/null 2>&1
}
# A process that was killed is gone for the daemon, too.
no_prefill_attached() {
  ! "$control" --socket "$socket" sessions | grep -q llama_prefill
}

start_daemon() {
  # Two namespaces: whole blocks, and blocks that ranks write in slices.
  "$daemon" --socket "$socket" --directory "$work/daemon" --pool-size 64MiB \
    --namespace-quota 32MiB >"$work/daemon.log" 2>&1 &
  daemon_pid=$!
  wait_until "the daemon's start" daemon_answers
}

# Programs print flat JSON objects, the one with the results last; `field NAME
# <<<"$json"` is one value.
field() { grep -oP "\"$1\":(\"\K[^\"]*|\[\K[^]]*|\K[^,}]*)" | tail -n 1; }

# Both take a name for the keys ("salt"), so that cases do not meet in the
# cache, and whatever further options. $prompt_file is another prompt.
run_prefill() {
  local salt=$1
  shift
  "$prefill" --socket "$socket" --prompt "${prompt_file:-$prompt}" \
    --cache-salt "$salt" --chunk-tokens "$chunk_tokens" "$@"
}
run_decode() {
  local salt=$1
  shift
  "$decode" --socket "$socket" --prompt "${prompt_file:-$prompt}" \
    --cache-salt "$salt" --tokens "$new_tokens" "$@"
}

# stream SALT [PREFILL_OPTION...] -- [DECODE_OPTION...]
#
# Starts both at once. Decode takes the ticket from prefill's output when it
# comes: before anything is computed, unless told --no-stream. Sets
# prefill_status, published and decoded; the time lines are files of $work.
stream() {
  local salt=$1 options=() statuses=(0 0 0)
  shift
  while [[ $1 != -- ]]; do
    options+=("$1")
    shift
  done
  shift
  rm -f "$work"/*.events
  # tee goes on when decode is done first.
  run_prefill "$salt" --timeline "$work/prefill.events" "${options[@]}" \
    2>"$work/prefill.log" | tee -p "$work/prefill.json" |
    run_decode "$salt" --ticket - --timeline "$work/decode.events" "$@" \
      >"$work/decode.json" || statuses=("${PIPESTATUS[@]}")
  prefill_status=${statuses[0]}
  published=$(<"$work/prefill.json")
  decoded=$(<"$work/decode.json")
  if ((statuses[2] != 0)); then
    echo "demo.sh: decode failed; prefill said: $(<"$work/prefill.log")" >&2
    exit 1
  fi
}
# Draws the last stream's time line, or prints its numbers (--json).
timeline() { python3 -B "$here/timeline.py" "$@" "$work"/*.events; }

heading() { printf '\n%s\n' "$1"; }
show() { printf '  %-46s %s\n' "$1" "$2"; }
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
at_most() { (($1 <= $2)); }
at_least() { (($1 >= $2)); }

# Tokens and the bits of all logits, to be compared as text.
tokens_of() { field tokens <<<"$1"; }
digest_of() { field logits_digest <<<"$1"; }
restored_of() { field restored_tokens <<<"$1"; }
computed_of() { field prompt_tokens_computed <<<"$1"; }
# check_equal RUN COLD_RUN
check_equal() {
  check "tokens equal" same "$(tokens_of "$1")" "$(tokens_of "$2")"
  check "logits equal, bit for bit" same "$(digest_of "$1")" "$(digest_of "$2")"
}
check_equal_to_cold() { check_equal "$1" "$cold"; }
check_streamed_whole() {
  check "prefill ran to its end" same "$prefill_status" 0
  check "every token's KV was taken over" same "$(restored_of "$decoded")" \
    "$prompt_tokens"
  check "at most one prompt token was computed again" at_most \
    "$(computed_of "$decoded")" 1
  check_equal_to_cold "$decoded"
}

# --- the main job -----------------------------------------------------------

start_daemon
prompt_tokens=$(wc -c <"$prompt")
readonly prompt_tokens
readonly block_count=$(((prompt_tokens + block_tokens - 1) / block_tokens))
readonly chunk_count=$(((prompt_tokens + chunk_tokens - 1) / chunk_tokens))
heading "A prompt of $prompt_tokens tokens, $new_tokens new ones, no cache"
# Another chunk size than the prefill's, since results must not depend on it.
cold=$("$decode" --no-cache --prompt "$prompt" --tokens "$new_tokens" \
  --chunk-tokens 100)
show "time to first token" "$(field first_token_ms <<<"$cold") ms"

heading "Streamed, layer by layer, while prefill computes"
stream main -- --append --conversation "$work/conversation"
timeline --svg "$picture" | sed 's/^/  /'
printf '\n'
numbers=$(timeline --json)
by_layer=$numbers
readonly by_layer
show "the same as a picture" "$picture"
show "blocks published by prefill" \
  "$(field committed_blocks <<<"$published") of $block_count"
show "blocks in decode's pages before the last layer" \
  "$(field blocks_before_last_layer <<<"$numbers") of $block_count"
show "prompt tokens computed by decode" "$(computed_of "$decoded")"
show "last layer to last byte in decode's pages" \
  "$(field to_last_byte_ms <<<"$numbers") ms"
show "last layer to first token ready" \
  "$(field to_first_token_ms <<<"$numbers") ms"
check_streamed_whole
check "the hand-over data spared that token, too" same \
  "$(computed_of "$decoded")" 0
if ((chunk_count > 2)); then
  check "most of it moved before prefill was done" at_least \
    "$(field blocks_before_last_layer <<<"$numbers")" $((block_count / 2))
fi

heading "The next turn of the conversation"
cat "$work/conversation" - >"$work/next-turn" <<'TEXT'

And what did the ferryman write in his book that evening?
TEXT
next_tokens=$(wc -c <"$work/next-turn")
next_cold=$("$decode" --no-cache --prompt "$work/next-turn" \
  --tokens "$new_tokens" --chunk-tokens 100)
next=$(prompt_file=$work/next-turn run_decode main)
show "blocks that the first turn's decode appended" \
  "$(field appended_blocks <<<"$decoded")"
show "tokens taken from the cache" "$(restored_of "$next") of $next_tokens"
# The last new token was an output only: nobody has computed its KV yet.
check "the hit includes the generated tokens" same "$(restored_of "$next")" \
  $((prompt_tokens + new_tokens - 1))
check_equal "$next" "$next_cold"

heading "Streamed, chunk by chunk"
stream by-chunk --granularity chunk --
by_chunk=$(timeline --json)
readonly by_chunk
check_streamed_whole

heading "Store and forward: the ticket comes when prefill is done"
stream store --no-stream --
stored=$(timeline --json)
readonly stored
check_streamed_whole

# show_hand_over WHAT NUMBERS
show_hand_over() {
  show "$1" "$(printf '%9.3f ms %9.3f ms' \
    "$(field to_last_byte_ms <<<"$2")" "$(field to_first_token_ms <<<"$2")")"
}
heading "Visible hand-over, from the last layer written"
show "" "to last byte   to first token"
show_hand_over "streamed by layer" "$by_layer"
show_hand_over "streamed by chunk" "$by_chunk"
show_hand_over "store and forward" "$stored"
show "none: decode computes the prompt" "$(printf '%12s %9.3f ms' "" \
  "$(field first_token_ms <<<"$cold")")"

heading "No ticket: the prompt is looked up while it is on its way"
run_prefill looked-up >"$work/looked-up.json" &
prefill_pid=$!
wait_until "prefill's ticket" grep -q '"ticket"' "$work/looked-up.json"
decoded=$(run_decode looked-up)
check "prefill ran to its end" wait "$prefill_pid"
show "the answer" "$(field lookup <<<"$decoded"):\
 $(field lookup_tokens <<<"$decoded") tokens now,\
 $(field lookup_coming_tokens <<<"$decoded") later, estimated in\
 $(field lookup_estimate_ms <<<"$decoded" || echo '?') ms"
check "it says: ask again" same "$(field lookup <<<"$decoded")" "ask again"
check "what it announced came" same "$(restored_of "$decoded")" \
  "$prompt_tokens"
check "at most one prompt token was computed again" at_most \
  "$(computed_of "$decoded")" 1
check_equal_to_cold "$decoded"

heading "No ticket: the prompt is looked up when it is there"
decoded=$(run_decode looked-up)
check "it says: hit" same "$(field lookup <<<"$decoded")" hit
check "every token's KV was taken over" same "$(restored_of "$decoded")" \
  "$prompt_tokens"
check "one prompt token was computed, for its logits" same \
  "$(computed_of "$decoded")" 1
check_equal_to_cold "$decoded"

# --- what must not go through -----------------------------------------------

heading "A flipped byte in the KV that was handed over"
spoiled=$(run_decode looked-up --flip-byte 2050)
check "logits differ" differs "$(digest_of "$spoiled")" "$(digest_of "$cold")"

heading "A middle block evicted"
published=$(run_prefill evicted --no-ticket --print-keys)
IFS=, read -ra keys <<<"$(field keys <<<"$published" | tr -d '"')"
readonly middle=$((${#keys[@]} / 2))
"$control" --socket "$socket" evict --namespace llama-example \
  --prefix "${keys[middle]}" >"$work/evict.log"
shortened=$(run_decode evicted)
show "tokens taken from the cache" \
  "$(restored_of "$shortened") of $prompt_tokens"
check "the hit ends where the block was" same "$(restored_of "$shortened")" \
  $((middle * block_tokens))
check_equal_to_cold "$shortened"
refilled=$(run_prefill evicted --no-ticket)
check "a second prefill computes only the rest" same \
  "$(restored_of "$refilled")" $((middle * block_tokens))
check "after it the hit is whole again" same \
  "$(restored_of "$(run_decode evicted)")" "$prompt_tokens"

heading "A prefill killed before its first commit"
died=0
run_prefill killed --exit-in-chunk 0 >/dev/null 2>&1 || died=$?
check "it died by SIGKILL" same "$died" $((128 + 9))
wait_until "the end of its session" no_prefill_attached
missed=$(run_decode killed)
check "a lookup says: nothing" same "$(field lookup <<<"$missed")" nothing
check "a miss" same "$(restored_of "$missed")" 0
check_equal_to_cold "$missed"
published=$(run_prefill killed --no-ticket)
check "the next prefill publishes every block" same \
  "$(field committed_blocks <<<"$published")" "$block_count"

readonly fatal_chunk=$((chunk_count / 2))
heading "A prefill killed while it streams, in chunk $fatal_chunk"
stream killed-streaming --exit-in-chunk "$fatal_chunk" --
check "it died by SIGKILL" same "$prefill_status" $((128 + 9))
show "decode was told" "$(field incomplete <<<"$decoded")"
show "tokens taken over from the dead" \
  "$(restored_of "$decoded") of $prompt_tokens"
check "exactly those of the chunks that were whole" same \
  "$(restored_of "$decoded")" $((fatal_chunk * chunk_tokens))
check "decode computed the rest itself" same "$(computed_of "$decoded")" \
  $((prompt_tokens - fatal_chunk * chunk_tokens))
check_equal_to_cold "$decoded"

# Two ranks write half of the heads each; the first mints the ticket for both.
readonly ranks=(--namespace llama-example-ranks --slices 2)
rank_options() {
  rank=("${ranks[@]}" --slice-first "$1" --slice-count 1 --instance 7
    --publication "$2")
}

heading "Two ranks, of which one does not commit"
rank_options 1 1
run_prefill one-rank "${rank[@]}" --exit-in-chunk 0 >/dev/null 2>&1 &
rank1_pid=$!
rank_options 0 1
stream one-rank "${rank[@]}" -- "${ranks[@]}"
died=0
wait "$rank1_pid" || died=$?
check "rank 1 died by SIGKILL" same "$died" $((128 + 9))
check "rank 0 ran to its end" same "$prefill_status" 0
check "a miss" same "$(restored_of "$decoded")" 0
check_equal_to_cold "$decoded"

heading "Two ranks that both commit, streamed"
rank_options 1 2
run_prefill two-ranks "${rank[@]}" >"$work/rank1.json" &
rank1_pid=$!
rank_options 0 2
stream two-ranks "${rank[@]}" -- "${ranks[@]}"
check "rank 1 ran to its end" wait "$rank1_pid"
check_streamed_whole

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
