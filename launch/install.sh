#!/bin/bash
# Installs this checkout with extras into its .venv, for launch/run.sh:
#
#   launch/install.sh tpu        cuda13 (or cuda12) for NVIDIA GPUs; '' for CPUs
#
# PYTHON names the interpreter, 3.11 or newer. Without it, it is the first such one on PATH; where there is none (Ubuntu
# 22.04 has 3.10), uv brings Python 3.12, and this says so. What is there already is used again.
set -euo pipefail

[ $# -eq 1 ] || { echo 'usage: launch/install.sh EXTRAS, such as tpu, cuda13, or an empty word for CPUs' >&2; exit 2; }
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fits() {
  # Debian's python3 has no ensurepip without the package python3-venv.
  command -v "$1" > /dev/null && "$1" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
}

if [ ! -x .venv/bin/python ]; then
  candidates=(python3.12 python3.11 python3.13 python3) found=''
  [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
  for python in "${candidates[@]}"; do
    if fits "$python"; then
      found=$python
      break
    fi
  done
  if [ -n "$found" ]; then
    "$found" -m venv .venv
  elif [ -n "${PYTHON:-}" ]; then
    echo "error: PYTHON=$PYTHON is older than Python 3.11, not there, or makes no environments (python3-venv)." >&2
    exit 1
  else
    echo 'There is no Python of 3.11 or newer here that makes environments; uv brings 3.12.' >&2
    python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --seed --python=3.12 .venv
  fi
fi
.venv/bin/python -m pip install --quiet --editable ".${1:+[$1]}"
