#!/bin/bash
# Runs a command that the loss of a connection does not end, and prints what it prints; launch/tpu_vm.sh calls it on the
# hosts:
#
#   launch/detached.sh ATTEMPT main --config=rooms --workdir=/shared/runs/rooms
#
# Called again, it follows the command that still runs, or says how this attempt has ended. Exits as the command does.
set -euo pipefail

attempt=$1
shift
command=$(printf '%q ' "$@")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=$(dirname "$here")/.run
mkdir -p "$state"
exec 9> "$state/lock"
flock 9
if kill -0 "$(cat "$state/pid" 2> /dev/null)" 2> /dev/null; then
  if [ "$command" != "$(cat "$state/command")" ]; then
    echo "error: another command still runs here: $(cat "$state/command"); wait for its end, or delete the slice." >&2
    exit 2
  fi
elif [ "$attempt" != "$(cat "$state/attempt" 2> /dev/null)" ]; then
  rm -f "$state/status"
  echo "$attempt" > "$state/attempt"
  echo "$command" > "$state/command"
  : > "$state/log" # before anybody follows it
  # shellcheck disable=SC2016
  setsid bash -c '"$0" "${@:2}"; echo $? > "$1"' "$here/run.sh" "$state/status" "$@" \
    >> "$state/log" 2>&1 < /dev/null 9>&- &
  echo $! > "$state/pid"
fi
flock --unlock 9
tail --lines=+1 --follow --sleep-interval=0.2 --pid="$(cat "$state/pid")" "$state/log"
[ -e "$state/status" ] || { echo 'error: the command was killed.' >&2; exit 137; }
exit "$(cat "$state/status")"
