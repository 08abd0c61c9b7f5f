#!/usr/bin/env bash
# Everything that must hold: style, types, the direction of imports, behaviour. With --fast, no slow tests.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --fast ]; then
    shift
    set -- -m 'not slow' "$@"
fi
ruff check .
ruff format --check .
mypy
lint-imports
# A file stays in one process: what its tests share is made once.
pytest --numprocesses=2 --dist=loadfile "$@"
