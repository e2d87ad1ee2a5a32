#!/usr/bin/env bash
# setup.sh [FOLDER CONSTRAINTS MINOR...]
# Makes .venv with everything ttreg, its demo and its tests need; does nothing where that is done already. Or makes
# FOLDER with what CONSTRAINTS pins, on the first CPython 3.MINOR that there is.
set -euo pipefail
cd "$(dirname "$0")/.."

NAME="${1:-.venv}"
CONSTRAINTS="${2:-constraints.txt}"
MINORS=("${@:3}")
[[ ${#MINORS[@]} -gt 0 ]] || MINORS=(12 10)

VENV="$PWD/$NAME"
STAMP="$VENV/ttreg-stamp"
# What is installed depends on these files, and its scripts on where the folder lies.
WANTED="$(cat pyproject.toml "$CONSTRAINTS" scripts/setup.sh | sha256sum) $VENV"

if [[ -f $STAMP && $(<"$STAMP") == "$WANTED" && -x $VENV/bin/python ]]; then
    exit 0
fi

# Where to look beside the PATH, pyenv's and uv's versions.
: "${PYTHON_FOLDERS=/usr/bin:/usr/local/bin:/opt/*/bin}"

# Being on the PATH says little (pyenv's shims are there for versions that do not start), so run it.
works() {
    "$1" -c "import sys, ensurepip, venv
sys.exit(sys.implementation.name != 'cpython' or sys.version_info[:2] != (3, $2))" >/dev/null 2>&1
}

one_works() {
    local minor
    for minor in "${MINORS[@]}"; do
        if works "$1" "$minor"; then return; fi
    done
    return 1
}

find_python() {
    local minor candidate
    if [[ -n ${PYTHON:-} ]]; then # one that was named is taken or refused, never passed over
        one_works "$PYTHON" && echo "$PYTHON"
        return
    fi
    for minor in "${MINORS[@]}"; do
        while read -r candidate; do
            if [[ -x $candidate ]] && works "$candidate" "$minor"; then
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
    printf -v wanted ' or 3.%s' "${MINORS[@]}"
    first="3.${MINORS[0]}"
    cat >&2 <<MESSAGE
ttreg needs CPython ${wanted# or } with its venv module (ttnn has wheels for 3.12 and 3.10 alone). None was found on
the PATH, under pyenv's or uv's versions, in /usr/local/bin or in /opt, or what PYTHON names is none. To get one:
    uv python install $first
    pyenv install $first
    apt-get install python$first python$first-venv     (Ubuntu 24.04 has 3.12, 22.04 has 3.10)
Then run make again, or name the interpreter: PYTHON=/path/to/python$first
MESSAGE
    exit 1
fi

# An environment made by an interpreter that is gone, or in a folder since moved, is made anew.
if ! one_works "$VENV/bin/python" ||
    ! grep -qF "$VENV" "$VENV/bin/activate"; then
    echo "Making $NAME with $("$python" --version) from $python"
    "$python" -m venv --clear "$VENV"
fi
rm -f "$STAMP"

uv=("$VENV/bin/python" -m uv --quiet pip install --python "$VENV/bin/python" --constraint "$CONSTRAINTS")
echo "Installing what $CONSTRAINTS pins (a few minutes the first time)"
"$VENV/bin/python" -m pip --disable-pip-version-check install --quiet --constraint "$CONSTRAINTS" uv
"${uv[@]}" --build-constraint "$CONSTRAINTS" --editable '.[models,tables,dev]'
# Its own pins are too old to resolve beside the others; the extra "models" holds what it imports.
"${uv[@]}" --no-deps facenet-pytorch

echo "$WANTED" >"$STAMP"
