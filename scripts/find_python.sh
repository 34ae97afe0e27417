#!/bin/sh
# Print the path of a Python interpreter that can run this project, or explain on stderr what is missing.
#
#   find_python.sh            a current Python (3.10 to 3.13) if there is one, else Python 3.7
#   find_python.sh 3.7        that version
#   find_python.sh python3.7  the same; a path to an interpreter works too
#
# Looks on the PATH, under pyenv and under uv. A candidate counts only if it starts and can make a virtual
# environment: a pyenv shim that answers with an error does not.
set -u

# usable INTERPRETER VERSIONS: print the real path if it runs, is one of the versions, and has venv and pip.
usable() {
    "$1" - "$2" 2>/dev/null <<'EOF'
import sys
version = "%d.%d" % sys.version_info[:2]
if version not in sys.argv[1].split():
    sys.exit(1)
import ensurepip, venv
print(sys.executable)
EOF
}

# find VERSIONS COMMAND...: the first candidate that is usable.
find_version() {
    versions=$1
    for version in $versions; do
        for candidate in "python$version" $(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python 2>/dev/null | sort -r) \
                         $(uv python find --no-python-downloads "$version" 2>/dev/null) "/usr/bin/python$version"; do
            usable "$candidate" "$version" && return 0
        done
    done
    return 1
}

wanted=${1:-}
case "$wanted" in
    "")
        modern="3.10 3.11 3.12 3.13"
        usable python3 "$modern" || find_version "3.12 3.11 3.13 3.10" || usable python3 3.7 || find_version 3.7 || {
            echo "No usable Python found on the PATH, under pyenv or under uv: install Python 3.10 to 3.13 (or 3.7)," \
                 "with its venv module (on Debian: apt-get install python3-venv), or name one with PYTHON=/path/to/python." >&2
            exit 2
        } ;;
    3.7|3.10|3.11|3.12|3.13|python3.7|python3.10|python3.11|python3.12|python3.13)
        find_version "${wanted#python}" || {
            echo "PYTHON=$wanted: no such Python runs on the PATH, under pyenv or under uv." \
                 "Install it with its venv module, or give the path of an interpreter." >&2
            exit 2
        } ;;
    *)
        usable "$wanted" "3.7 3.10 3.11 3.12 3.13" || {
            echo "PYTHON=$wanted: not a Python 3.7 or 3.10 to 3.13 that runs and has the venv module." >&2
            exit 2
        } ;;
esac
