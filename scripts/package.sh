#!/usr/bin/env bash
# Makes sdist and wheel in dist/, and tries both outside of the checkout, in a fresh environment of each CPython.
set -euo pipefail
cd "$(dirname "$0")/.."
CHECKOUT="$PWD"
UV="$CHECKOUT/.venv/bin/uv"
VERSION="$(.venv/bin/python -c 'from importlib.metadata import version; print(version("ttreg"))')"
FRESH="$(mktemp -d)"
trap 'rm -rf "$FRESH"' EXIT

rm -rf dist
"$UV" --quiet build --build-constraint constraints.txt # the wheel is made of the sdist, so that nothing lacks there
tar -tf "dist/ttreg-$VERSION.tar.gz" "ttreg-$VERSION/constraints.txt" >/dev/null # which docs/install.md promises
cp constraints.txt "$FRESH"
cp dist/* "$FRESH"
cd "$FRESH"

find_python() { # of a version: the one that made .venv, or another that starts
    local candidate
    for candidate in "$(readlink -f "$CHECKOUT/.venv/bin/python")" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python \
        "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-"$1"*/bin/python "$(command -v "python$1" || true)"; do
        if [[ -x $candidate ]] && "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$1')" 2>&-; then
            echo "$candidate"
            return
        fi
    done
    echo "No CPython $1 was found; PYTHONS='3.12' tries that one alone, for example." >&2
    return 1
}

try() { # a file of dist/, for a CPython
    "$UV" --quiet venv --clear --python "$2" venv
    "$UV" --quiet pip install --python venv/bin/python --constraint constraints.txt "$1"
    venv/bin/ttreg --version
    venv/bin/ttreg why relu --args 'f32[64, 64]'
    venv/bin/ttreg show relu >/dev/null
    venv/bin/ttreg list relu >/dev/null
    echo 'import torch; torch.relu(torch.rand(64, 64))' >program.py
    venv/bin/ttreg coverage --min-share 1 program.py >/dev/null
    venv/bin/ttreg run program.py 2>/dev/null
    venv/bin/python -c "
import torch, ttreg
with ttreg.device_mode(device='emulated', min_upload_numel=0) as session:
    assert torch.relu(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
assert session.report().totals.device == 1"
}

for python in ${PYTHONS:-3.12 3.10}; do
    found="$(find_python "$python")"
    for file in "ttreg-$VERSION-py3-none-any.whl" "ttreg-$VERSION.tar.gz"; do
        echo "CPython $python, $file"
        try "$file" "$found"
    done
done
