#!/bin/sh
# demo.sh PYTHON: render scenes, train a small GANsformer on them, stop and resume once, and draw pictures with it.
set -eu

python=$1
run=results/demo-000
started=$(date +%s)

train_flags() {
    echo run_network.py --train --gansformer-default --dataset scenes --expname demo --resolution 16 \
        --channel-base 256 --channel-max 32 --batch-size 8 --ema-kimg 0.5 \
        --tick 2 --snapshot-ticks 8 --total-kimg "$1"
}

train() {
    # shellcheck disable=SC2046 - a flag each
    "$python" $(train_flags "$1")
}

echo "1/4  Rendering scenes of one to four large objects: what pictures of 16x16 can show"
"$python" prepare_data.py --scenes --large-objects --images-num 6000 --resolution 16

echo "2/4  Training the first half"
train 48

echo "3/4  Resuming the same run for the second half"
train 96

echo "4/4  Drawing 16 samples and the attention of each latent, and counting objects"
"$python" generate.py --model $run/network-final.pkl --seeds 0-15 --grid --attention --output-dir $run/generated
"$python" run_network.py --eval --expname demo --dataset scenes --metrics objects,layout --eval-images-num 1000

echo
echo "Done in $((($(date +%s) - started) / 60)) min. Look at:"
echo "  $run/report.html      the whole training on one page"
echo "  $run/fakes*.png       samples while training"
echo "  $run/attention*.png   where each latent component looks"
echo "  $run/generated/       16 samples by seed, a grid of them, and their attention"
echo
echo "Longer trainings give better pictures (docs/results.md). To go on, to 256 thousand images:"
echo "  $python $(train_flags 256)"
