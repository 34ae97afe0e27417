#!/bin/sh
# visit.sh OUT [PARTS]: all that is worth measuring on this machine's GPU, and the table of it.
#
# PARTS is a folder that pack.py wrote, where this Python has no TensorFlow. The same command goes on where it was cut.
# SECONDS_LEFT (default: 840) is how long the machine can be had; PYTHON the interpreter (default: python3).
set -eu

out=$1
parts=${2:-}
python=${PYTHON:-python3}
end=$(($(date +%s) + ${SECONDS_LEFT:-840}))
here=$(dirname "$0")

measure() {
    "$python" "$here/measure.py" --out "$out" --seconds $((end - $(date +%s))) "$@" || true  # figures count
}

measure --only machine,kernels
if [ -n "$parts" ]; then
    "$python" "$here/unpack.py" "$parts" --target "$out/environment"
    . "$out/environment/activate"
fi
measure
"$python" "$here/report.py" "$out" --json "$out/figures.json" > "$out/table.md"
cat "$out/table.md"
