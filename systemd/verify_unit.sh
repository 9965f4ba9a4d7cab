#!/usr/bin/env bash
# Goal    systemd understands every line of the unit.
# Method  `systemd-analyze verify` on a copy whose program is /bin/true, since
#         the installed one need not be there; any remark about it fails.
#
# usage: verify_unit.sh SYSTEMD_ANALYZE UNIT
set -euo pipefail

scratch=$(mktemp -d "${TMPDIR:-/tmp}/kvferry_unit.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$2" \
  >"$scratch/kvferryd.service"

remarks=$("$1" verify --man=no "$scratch/kvferryd.service" 2>&1) || {
  printf '%s\n' "$remarks"
  exit 1
}
# Other units of the machine may have remarks of their own.
if grep -F kvferryd.service <<<"$remarks"; then
  exit 1
fi
printf 'no remarks\n'
