#!/usr/bin/env bash
# Builds the documentation site into a folder (build/site unless another is given); a warning is an error.
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:-build/site}
JAX_PLATFORMS=cpu python -m sphinx --builder html --conf-dir docs --fail-on-warning --fresh-env --keep-going --quiet . "$out"
printf '<!doctype html><title>mtkd_jax</title><meta http-equiv="refresh" content="0; url=docs/index.html">\n' > "$out/index.html"
echo "$out/index.html"
