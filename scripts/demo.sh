#!/bin/sh
# demo.sh PYTHON: render scenes, train a small GANsformer on them, stop and resume once, and draw pictures with it.
set -eu

python=$1
run=results/demo-000
started=$(date +%s)

train() {
    "$python" run_network.py --train --gansformer-default --recipe small --dataset scenes --expname demo \
        --resolution 32 --channel-base 512 --channel-max 64 --batch-size 8 --ema-kimg 0.5 \
        --tick 1 --snapshot-ticks 4 --total-kimg "$1"
}

echo "1/4  Rendering scenes, of one to four large objects: what pictures of 32x32 can show"
"$python" prepare_data.py --scenes --large-objects --images-num 6000 --resolution 32

echo "2/4  Training the first half"
train 8

echo "3/4  Resuming the same run for the second half"
train 16

echo "4/4  Drawing 16 samples and the attention of each latent"
"$python" generate.py --model $run/network-final.pkl --seeds 0-15 --grid --attention --output-dir $run/generated

echo
echo "Done in $((($(date +%s) - started) / 60)) min. Look at:"
echo "  $run/report.html      the whole training on one page"
echo "  $run/fakes*.png       samples while training"
echo "  $run/attention*.png   where each latent component looks"
echo "  $run/generated/       16 samples by seed, a grid of them, and their attention"
