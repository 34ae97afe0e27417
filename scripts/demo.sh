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

echo "2/4  Training for 48 thousand images"
train 48

# As many thousands of images as ten minutes allow at the speed so far, with a minute for the rest.
pace=$(sed -n 's/.*"sec_per_kimg": \([0-9.]*\).*/\1/p' $run/stats.jsonl | tail -n 1)
total=$(awk -v spent=$(($(date +%s) - started)) -v pace="$pace" 'BEGIN {
    fits = 16 * int((48 + (540 - spent) / pace) / 16)
    print (fits < 96 ? 96 : (fits > 256 ? 256 : fits))
}')
echo "3/4  Resuming the same run, to $total thousand images"
train "$total"

echo "4/4  Drawing 16 samples and the attention of each latent, and counting objects"
"$python" generate.py --model $run/network-final.pkl --seeds 0-15 --grid --attention --output-dir $run/generated
"$python" run_network.py --eval --expname demo --dataset scenes --metrics objects,layout --eval-images-num 1000

echo
echo "Done in $((($(date +%s) - started) / 60)) min. Look at:"
echo "  $run/report.html      the whole training on one page"
echo "  $run/fakes*.png       samples while training"
echo "  $run/attention*.png   where each latent component looks"
echo "  $run/generated/       16 samples by seed, a grid of them, and their attention"
if [ "$total" -lt 256 ]; then
    echo
    echo "Longer trainings give better pictures (docs/results.md). To go on with this one:"
    echo "  $python $(train_flags 256)"
fi
