#!/usr/bin/env bash
# Everything that must hold: style, types, the direction of imports, behaviour.
set -euo pipefail
cd "$(dirname "$0")/.."
ruff check .
ruff format --check .
mypy
lint-imports
pytest --numprocesses=2 "$@"
