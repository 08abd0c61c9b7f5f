#!/bin/bash
# Runs a command of the package in the environment that launch/install.sh made; every launcher does it by this script:
#
#   launch/run.sh main --config=rooms --workdir=/shared/runs/rooms
#
# It becomes the command: a SIGTERM reaches that, and the exit status is its own (143 after a SIGTERM: the same command
# continues). PYTHON names another interpreter that has the package.
set -euo pipefail

[ $# -gt 0 ] ||
  { echo 'usage: launch/run.sh COMMAND FLAGS, such as main --config=rooms --workdir=runs/rooms' >&2; exit 2; }
command=$1
shift
python=${PYTHON:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin/python}
command -v "$python" > /dev/null ||
  { echo "error: there is no $python; run launch/install.sh first, or set PYTHON." >&2; exit 1; }
exec "$python" -m "mtkd_jax.$command" "$@"
