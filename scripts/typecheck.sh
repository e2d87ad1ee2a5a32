#!/usr/bin/env bash
# Runs mypy where the folders lie as they are packaged: it knows of no package-dir, and `ops` is ttreg.ops.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
layout=.venv/layout
rm -rf "$layout"
mkdir -p "$layout/ttreg"
ln -s "$root"/ttreg/* "$root/ops" "$root/fallback" "$layout/ttreg/"
ln -s "$root/tests" "$root/benchmarks" "$layout/"
cd "$layout"
exec "$root/.venv/bin/mypy" --config-file "$root/pyproject.toml" --cache-dir "$root/.mypy_cache" "$@"
