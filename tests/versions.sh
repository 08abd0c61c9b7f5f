#!/usr/bin/env bash
# The fast tests with other versions: `tests/versions.sh lowest` or `tests/versions.sh newest`, and a Python.
#
#   bash tests/versions.sh lowest python3.11     every package as old as pyproject.toml allows
#   bash tests/versions.sh newest python3.13     as new as that Python can have
#
# What follows is for pytest. `lowest` is resolved by uv, in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ $# -lt 2 ] || [[ ! "$1" =~ ^(lowest|newest)$ ]]; then
    echo 'usage: tests/versions.sh lowest|newest PYTHON [PYTEST ARGUMENTS]' >&2
    exit 2
fi
which=$1 python=$2
shift 2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
if [ "$which" = lowest ]; then
    "$python" -m venv "$folder/uv"
    "$folder/uv/bin/pip" install --quiet uv
    "$folder/uv/bin/uv" pip install --quiet --native-tls --python "$folder/venv/bin/python" --resolution lowest-direct --editable '.[test]'
else
    "$folder/venv/bin/pip" install --quiet --editable '.[test]'
fi
"$folder/venv/bin/python" -c 'import sys, importlib.metadata as m; print(sys.version.split()[0], *(f"{x} {m.version(x)}" for x in ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")), sep=", ")'
"$folder/venv/bin/python" -m pytest --numprocesses=2 --dist=loadfile -m 'not slow' "$@"
