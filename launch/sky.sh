#!/bin/bash
# The run of launch/sky_*.yaml: COMMAND, a command and its flags as for a shell, on every machine. GPU machines learn of
# each other by SkyPilot's variables; on a TPU slice jax finds the hosts itself, and one machine is alone.
set -euo pipefail

[ -n "${COMMAND:-}" ] ||
  { echo "error: COMMAND is missing; --env=COMMAND='main --config=rooms --workdir=gs://BUCKET/rooms'." >&2; exit 2; }
eval "set -- $COMMAND"
if [ "${1:-}" = main ] && [ "$SKYPILOT_NUM_NODES" -gt 1 ] && [ "${SKYPILOT_NUM_GPUS_PER_NODE:-0}" -gt 0 ]; then
  first=$(head -n1 <<< "$SKYPILOT_NODE_IPS")
  set -- "$@" --coordinator="$first:8476" --processes="$SKYPILOT_NUM_NODES" --process="$SKYPILOT_NODE_RANK"
fi
exec "$(dirname "${BASH_SOURCE[0]}")/run.sh" "$@"
