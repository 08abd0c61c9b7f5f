#!/bin/bash
# Installs this checkout on a TPU VM with one host and runs it there. To be started on the VM itself:
#
#   launch/tpu_vm.sh configs/nyuv2.py runs/nyuv2 --config.batch_size=8 --config.devices=0
#
# Exits as the run does; a pre-empted VM (SIGTERM) continues with the same command.
set -euo pipefail

config=${1:?usage: launch/tpu_vm.sh CONFIG WORKDIR [FLAGS]}
workdir=${2:?usage: launch/tpu_vm.sh CONFIG WORKDIR [FLAGS]}
shift 2
cd "$(dirname "$0")/.."
[ -d .venv ] || python3 -m venv .venv
.venv/bin/pip install -q -e '.[tpu]'
exec .venv/bin/python -m mtkd_jax.main --config="$config" --workdir="$workdir" "$@"
