#!/usr/bin/env bash
# Makes .venv with everything ttreg, its demo and its tests need; does nothing where that is done already.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV="$PWD/.venv"
STAMP="$VENV/ttreg-stamp"
# What is installed depends on these files, and its scripts on where the folder lies.
WANTED="$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum) $VENV"

if [[ -f $STAMP && $(<"$STAMP") == "$WANTED" && -x $VENV/bin/python ]]; then
    exit 0
fi

# Where to look beside the PATH, pyenv's and uv's versions.
: "${PYTHON_FOLDERS=/usr/bin:/usr/local/bin:/opt/*/bin}"

# Being on the PATH says little (pyenv's shims are there for versions that do not start), so run it.
works() {
    "$1" -c "import sys, ensurepip, venv
sys.exit(sys.implementation.name != 'cpython' or sys.version_info[:2] != ($2, $3))" >/dev/null 2>&1
}

find_python() {
    local minor candidate
    if [[ -n ${PYTHON:-} ]]; then # one that was named is taken or refused, never passed over
        { works "$PYTHON" 3 12 || works "$PYTHON" 3 10; } && echo "$PYTHON"
        return
    fi
    for minor in 12 10; do
        while read -r candidate; do
            if [[ -x $candidate ]] && works "$candidate" 3 "$minor"; then
                echo "$candidate"
                return
            fi
        done < <(
            type -ap "python3.$minor" python3 python || true
            shopt -s nullglob
            printf '%s\n' "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python \
                "${XDG_DATA_HOME:-$HOME/.local/share}"/uv/python/cpython-3."$minor"*/bin/python \
                "$HOME/.local/bin/python3.$minor"
            IFS=:
            for folder in $PYTHON_FOLDERS; do printf '%s\n' "$folder/python3.$minor"; done
        )
    done
    return 1
}

if ! python="$(find_python)"; then
    cat >&2 <<'MESSAGE'
ttreg needs CPython 3.12 or 3.10 with its venv module (ttnn has wheels for no other). None was found on the
PATH, under pyenv's or uv's versions, in /usr/local/bin or in /opt, or what PYTHON names is none. To get one:
    uv python install 3.12
    pyenv install 3.12
    apt-get install python3.12 python3.12-venv     (Ubuntu 24.04; python3.10 and python3.10-venv on 22.04)
Then run make again, or name the interpreter: make setup PYTHON=/path/to/python3.12
MESSAGE
    exit 1
fi

# An environment made by an interpreter that is gone, or in a folder since moved, is made anew.
if ! { works "$VENV/bin/python" 3 12 || works "$VENV/bin/python" 3 10; } ||
    ! grep -qF "$VENV" "$VENV/bin/activate"; then
    echo "Making .venv with $("$python" --version) from $python"
    "$python" -m venv --clear "$VENV"
fi
rm -f "$STAMP"

uv=("$VENV/bin/python" -m uv --quiet pip install --python "$VENV/bin/python" --constraint constraints.txt)
echo "Installing what constraints.txt pins (a few minutes the first time)"
"$VENV/bin/python" -m pip --disable-pip-version-check install --quiet --constraint constraints.txt uv
"${uv[@]}" --build-constraint constraints.txt --editable '.[models,tables,dev]'
# Its own pins are too old to resolve beside the others; the extra "models" holds what it imports.
"${uv[@]}" --no-deps facenet-pytorch

echo "$WANTED" >"$STAMP"
