#!/bin/sh
# make_env.sh PYTHON DIR: create the virtual environment DIR, or complete one whose making was cut short.
#
# On a machine without an NVIDIA GPU the CPU build of TensorFlow is installed: it is the smallest one that works.
# With a GPU, a current TensorFlow also gets its CUDA libraries; TensorFlow 1.15 expects CUDA 10.0 on the machine.
set -eu

python=$1
env=$2
packages="$env/requirements.txt"

[ -x "$env/bin/python" ] || "$python" -m venv "$env"

# Let this environment find the checkout: `python -m vis.report` and `import dnnlib` work from any folder.
(cd "$(dirname "$0")/.." && pwd) > "$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/gansformer.pth"

if nvidia-smi -L >/dev/null 2>&1; then
    sed 's/^tensorflow>/tensorflow[and-cuda]>/' requirements.txt > "$packages"
else
    sed -e 's/^tensorflow-gpu==/tensorflow-cpu==/' -e 's/^tensorflow>/tensorflow-cpu>/' requirements.txt > "$packages"
fi

echo "Installing the packages of requirements.txt into $env (once; a few minutes)..."
"$env/bin/python" -m pip install --quiet --disable-pip-version-check -r "$packages" -r requirements-dev.txt || {
    echo "That build of TensorFlow is not to be had here; trying the general one." >&2
    "$env/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
}
touch "$env/ready"
