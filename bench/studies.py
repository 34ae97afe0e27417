"""The studies behind recommended values: what is compared, on which budget; study.py runs them."""

from __future__ import annotations

import dataclasses
import functools

# 24 thousand images of 32x32 scenes: 5 to 15 minutes on one core.
BUDGET = (
    "--dataset scenes --resolution 32 --channel-base 1024 --channel-max 64 --batch-size 8 "
    "--ema-kimg 0.5 --total-kimg 24"
)
PUBLISHED = f"--gansformer-default {BUDGET}"  # logistic loss, R1, k-means centroids

R1R2 = "--d-reg r1r2 --d-reg-interval 4"
LOGISTIC = "--g-loss logistic_ns --d-loss logistic --d-reg r1 --d-reg-interval 16"
RELATIVISTIC = "--g-loss relativistic --d-loss relativistic"

MODEL_32 = "--pretrained-pkl models/scenes32.pkl"
MODEL_64 = "--pretrained-pkl models/scenes64.pkl"
MODEL_CHANNELS = "--channel-base 512 --channel-max 32"  # of both

# 8 thousand images of 16x16, one to four large objects: half a minute to three on one core.
LARGE_OBJECTS = "--scenes --large-objects --images-num 2000 --resolution 16"
QUICK_BUDGET = (
    "--dataset scenes --resolution 16 --channel-base 256 --channel-max 32 --batch-size 8 "
    "--ema-kimg 0.25 --total-kimg 8"
)

SIMPLEX = "--kmeans false --duplex false"
DUPLEX = "--kmeans false --duplex true"
# What the demo and short trainings of scenes were tried with beside the published settings.
DUPLEX_SKIP = f"{RELATIVISTIC} {R1R2} {DUPLEX} --g-arch skip"

# What the preset of scenes has beside its gamma.
SMALL_LATENTS = (
    "--components-num 8 --latent-size 128 --mapping-ltnt2ltnt false --average-by-component true "
    "--style-mixing 0 --g-lr 0.004 --d-lr 0.004 --truncation-psi 1"
)

OPERATIONS = {"native": "--custom-ops native", "ref": "--custom-ops ref"}

# The models of the paper's Table 1, in its order. SAGAN's attention and k-GAN's merging are at
# 8x8, since their own 32x32 is beyond pictures of 16x16.
MODELS = {
    "GAN": "--baseline GAN",
    "kGAN": "--baseline kGAN --merge-layer 3",
    "SAGAN": "--baseline SAGAN --g-img2img 3",
    "StyleGAN2": "--baseline StyleGAN2",
    "simplex": f"--gansformer-default {SIMPLEX}",
    "duplex": f"--gansformer-default {DUPLEX}",
}


@dataclasses.dataclass(frozen=True)
class Study:
    """A comparison of settings over seeds.

    Attributes:
      question: what it is to answer, one sentence.
      base: flags of all of its runs.
      settings: {name: flags that the setting adds}; the first one is what others are compared with.
      seeds: number of seeds, 0 and on.
      prepare: flags for prepare_data.py; "" if the dataset is there already.
      metrics: what the judge measures of each run, by EfficientNet-lite0's features.
      images_num: images that are measured.
      first: flags, beside a run's own, of a training that comes before it: the run begins with the
        networks of that one. "": no such training.
    """

    question: str
    base: str
    settings: dict[str, str]
    seeds: int = 3
    prepare: str = "--scenes --images-num 6000 --resolution 32"
    metrics: str = "fid,pr,objects,layout"
    images_num: int = 2000
    first: str = ""


quick_study = functools.partial(Study, prepare=LARGE_OBJECTS, images_num=1000)


def small_set_study(kind, dataset, **other):
    """The same settings as for other kinds of pictures, 32 thousand images of 16x16."""
    return quick_study(
        f"Which settings train small pictures of any kind? {kind}.",
        f"--gansformer-default {QUICK_BUDGET} --dataset {dataset} --ema-kimg 0.5 --total-kimg 32",
        {
            "gamma-10": f"{SMALL_LATENTS} {LOGISTIC} --gamma 10",
            "gamma-1": f"{SMALL_LATENTS} {LOGISTIC} --gamma 1",
            "gamma-0.05": f"{SMALL_LATENTS} {LOGISTIC} --gamma 0.05",
            "recipe": "--recipe small",
            "auto": "--auto",
        },
        metrics="fid,pr",
        **other,
    )


# Of the package emoji-datasource-google, unpacked here: see docs/data.md.
EMOJI = (
    "--task emoji --images-dir package/img/google/64 --labels package/emoji.json "
    "--label-column category"
)
EMOJI_16 = f"{EMOJI} --resolution 16"
# Of scikit-learn, written as files: see docs/results.md.
DIGITS = "--task digits --images-dir digits --labels digits.csv --label-column digit"

demo_study = functools.partial(
    Study,
    settings={"demo": "", "duplex-skip": DUPLEX_SKIP},
    prepare="--scenes --large-objects --images-num 6000 --resolution 16",
)

STUDIES = {
    "native": Study(
        "Do native operations train like their references, by the published objective?",
        PUBLISHED,
        OPERATIONS,
        seeds=10,
    ),
    "native-quick": quick_study(
        "Do native operations train like their references, by the published objective, on the "
        "demo's kind of pictures? Less than a minute a run, to look at before a change to "
        "operations lands.",
        f"--gansformer-default {QUICK_BUDGET}",
        OPERATIONS,
        seeds=10,
    ),
    "native-recipe": quick_study(
        "Do native operations train like their references, by --recipe small?",
        f"--gansformer-default --recipe small {QUICK_BUDGET}",
        OPERATIONS,
        seeds=5,
        metrics="fid,pr",
    ),
    "preset": quick_study(
        "What the preset of scenes changes in the published settings, and what might be changed: "
        "each setting alters one thing.",
        f"--gansformer-default {QUICK_BUDGET} --ema-kimg 0.5 --total-kimg 16",
        {
            "preset": "",
            "4-components": "--components-num 4 --latent-size 64",
            "16-components": "--components-num 16 --latent-size 256",
            "style-mixing": "--style-mixing 0.9",
            "no-noise": "--local-noise false",
            "latent-stem": "--latent-stem true",
            "lr-0.002": "--g-lr 0.002 --d-lr 0.002",
            "lr-0.008": "--g-lr 0.008 --d-lr 0.008",
            "batch-16": "--batch-size 16",
            "gamma-0.5": "--gamma 0.5",
            "gamma-5": "--gamma 5",
            "mapping-attention": "--mapping-ltnt2ltnt true",
            "simplex": SIMPLEX,
            "duplex": DUPLEX,
            "skip": "--g-arch skip",
        },
    ),
    "recipe": quick_study(
        "What alters --recipe small for the better, on drawings? Each setting changes one thing.",
        f"--gansformer-default --recipe small {QUICK_BUDGET} --dataset emoji --ema-kimg 0.5 "
        "--total-kimg 16",
        {
            "recipe": "",
            "gamma-2": "--gamma 2",
            "gamma-50": "--gamma 50",
            "lr-0.002": "--g-lr 0.002 --d-lr 0.002",
            "batch-16": "--batch-size 16",
            "16-components": "--components-num 16 --latent-size 256",
            "simplex": SIMPLEX,
            "duplex": DUPLEX,
            "skip": "--g-arch skip",
        },
        prepare=EMOJI_16,
        metrics="fid,pr",
    ),
    "demo": demo_study(
        "What does make demo give at least, and what do relativistic losses with duplex attention?",
        f"--gansformer-default {QUICK_BUDGET} --ema-kimg 0.5 --total-kimg 96",
        seeds=5,
    ),
    "longer": demo_study(
        "What do both give in the longest training of make demo?",
        f"--gansformer-default {QUICK_BUDGET} --ema-kimg 0.5 --total-kimg 256 --snapshot-ticks 32",
    ),
    "grow": Study(
        "32x32 begun at 16x16 with the same channels.",
        f"--gansformer-default {QUICK_BUDGET} --resolution 32 --channel-base 512 --ema-kimg 2 "
        "--total-kimg 160 --lr-decay-kimg 160 --snapshot-ticks 20",
        {"published": "", "duplex-skip": DUPLEX_SKIP},
        prepare="--scenes --large-objects --images-num 6000 --resolution 32 --multi-resolution",
        # A million thousand images: rates that stay.
        first="--resolution 16 --ema-kimg 0.5 --total-kimg 256 --lr-decay-kimg 1000000",
    ),
    "grow-64": Study(
        "64x64 begun with the model of 32x32 in models/.",
        f"--gansformer-default {QUICK_BUDGET} --resolution 64 --channel-base 512 --ema-kimg 2 "
        f"--gamma 0.2 {MODEL_32} --total-kimg 400 --lr-decay-kimg 400 --snapshot-ticks 20",
        {"published": "", "gamma-0.05": "--gamma 0.05"},
        prepare="--scenes --large-objects --images-num 6000 --resolution 64",
    ),
    "few": quick_study(
        "Does adaptive augmentation help on 300 pictures, with the published objective?",
        f"--gansformer-default {QUICK_BUDGET} --train-images-num 300 --ema-kimg 2.5 "
        "--total-kimg 384 --snapshot-ticks 64",
        {
            "none": "",
            "ada": "--aug ada --aug-pipe xflip,xint --aug-kimg 10",
            "ada-blit": "--aug ada --aug-pipe blit --aug-kimg 10",
        },
    ),
    "emoji": Study(
        "Real drawings: settings by rule, a strong penalty, and relativistic losses.",
        f"--gansformer-default {QUICK_BUDGET} --dataset emoji --ema-kimg 0.5 --total-kimg 128 "
        "--snapshot-ticks 32",
        {
            "rules": "--auto",
            "gamma-10": f"{SMALL_LATENTS} {LOGISTIC} --gamma 10",
            "recipe": "--recipe small",
        },
        prepare=EMOJI_16,
        metrics="fid,pr",
    ),
    "small-scenes": small_set_study("Scenes of large objects", "scenes"),
    "small-emoji": small_set_study("3,786 drawings with labels", "emoji", prepare=EMOJI_16),
    "small-digits": small_set_study("1,797 grey scans with labels", "digits", prepare=DIGITS),
    "small-baselines": quick_study(
        "Do the settings that small pictures of any kind take by rule serve other models, too? "
        "3,786 drawings with labels.",
        f"{QUICK_BUDGET} --dataset emoji --ema-kimg 0.5 --total-kimg 32",
        {
            "StyleGAN2": "--baseline StyleGAN2",
            "StyleGAN2-auto": "--baseline StyleGAN2 --auto",
            "GAN": "--baseline GAN",
            "GAN-auto": "--baseline GAN --auto",
        },
        prepare=EMOJI_16,
        metrics="fid,pr",
    ),
    "emoji-32": Study(
        "Drawings of 32x32 by the recipe that small pictures take by rule: from random values, or "
        "begun with the model of scenes in models/?",
        f"--gansformer-default {QUICK_BUDGET} --dataset emoji --resolution 32 --channel-base 512 "
        "--ema-kimg 0.5 --total-kimg 32",
        {"recipe": "", "model": MODEL_32},
        prepare=f"{EMOJI} --resolution 32",
        metrics="fid,pr",
    ),
    "transfer": Study(
        "500 pictures: does it help to begin with a model of other pictures?",
        f"--gansformer-default {QUICK_BUDGET} --resolution 32 --channel-base 512 --total-kimg 4 "
        "--train-images-num 500",
        {
            "scratch": "",
            "transfer": MODEL_32,
            "freeze-d": f"{MODEL_32} --freeze-d 4",
        },
        prepare="--scenes --images-num 2000 --resolution 32",
        images_num=1000,
    ),
    "from-model": Study(
        "The first demo's pictures: its settings, or begun with the model in models/?",
        PUBLISHED,
        {
            "first-demo": "",
            "recipe": "--recipe small",
            "model": f"{MODEL_CHANNELS} {MODEL_32} --lr-decay-kimg 24",
            "model-recipe": f"{MODEL_CHANNELS} {MODEL_32} --lr-decay-kimg 24 --recipe small",
            "model-64": f"{MODEL_CHANNELS} {MODEL_64} --lr-decay-kimg 24",
            # As many minutes as the first demo's settings take.
            "model-longer": f"{MODEL_CHANNELS} {MODEL_32} --lr-decay-kimg 60 --total-kimg 60",
        },
    ),
    "baselines": quick_study(
        "The paper's comparison, with its objective: logistic loss and R1.",
        QUICK_BUDGET,
        MODELS,
    ),
    "baselines-small": quick_study(
        "The paper's comparison, with the losses of the recipe for small images.",
        f"{QUICK_BUDGET} {RELATIVISTIC} {R1R2}",
        MODELS,
    ),
    "baselines-longer": quick_study(
        "The paper's comparison, with its objective, for eight times as many images.",
        f"{QUICK_BUDGET} --ema-kimg 0.5 --total-kimg 64 --snapshot-ticks 16",
        MODELS,
    ),
    "smoke": Study(
        "Does a study run at all? (A few steps of tiny networks, which learn nothing.)",
        "--dataset scenes --gansformer-default --resolution 16 --channel-base 64 --channel-max 8 "
        "--batch-size 4 --total-kimg 0.008",
        {"kmeans": "", "simplex": SIMPLEX},
        seeds=2,
        prepare="--scenes --images-num 40 --resolution 16 --multi-resolution",
        images_num=40,
        first="--resolution 8 --total-kimg 0.004",
    ),
}
