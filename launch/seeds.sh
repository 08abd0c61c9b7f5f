#!/bin/bash
# The same run for several seeds, one after another, each in a workdir of its own: WORKDIR/seed0, WORKDIR/seed1, ...
#
#   launch/seeds.sh 'configs/rooms.py:method=uniform' runs/rooms 0 1 2 -- --config.epochs=20
#
# Finished seeds are not run again; the same command continues where it was stopped.
set -euo pipefail

usage="usage: launch/seeds.sh CONFIG WORKDIR SEED... [-- FLAGS]"
config=${1:?$usage}
workdir=${2:?$usage}
shift 2
seeds=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
  seeds+=("$1")
  shift
done
[ ${#seeds[@]} -gt 0 ] || { echo "$usage" >&2; exit 2; }
[ $# -eq 0 ] || shift

for seed in "${seeds[@]}"; do
  python -m mtkd_jax.main --config="$config" --workdir="$workdir/seed$seed" --config.seed="$seed" "$@"
done
