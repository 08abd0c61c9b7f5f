#!/bin/bash
# Installs this checkout on a TPU VM with one host and runs it there. To be started on the VM itself:
#
#   launch/tpu_vm.sh configs/nyuv2.py runs/nyuv2 --config.batch_size=8 --config.devices=0
#
# PYTHON names the interpreter to use, 3.11 or newer. Exits as the run does; a pre-empted VM (SIGTERM) continues with the same command.
set -euo pipefail

config=${1:?usage: launch/tpu_vm.sh CONFIG WORKDIR [FLAGS]}
workdir=${2:?usage: launch/tpu_vm.sh CONFIG WORKDIR [FLAGS]}
shift 2
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "error: $python is older than Python 3.11; install one and set PYTHON=python3.12." >&2; exit 1; }
[ -d .venv ] || "$python" -m venv .venv
.venv/bin/pip install -q -e '.[tpu]'
exec .venv/bin/python -m mtkd_jax.main --config="$config" --workdir="$workdir" "$@"
