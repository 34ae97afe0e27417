"""Options that are not a function's parameters. The defaults of their flags live here."""

from __future__ import annotations

from dataclasses import dataclass

from dnnlib.submission.internal.slurm import TargetOptions


@dataclass(frozen=True)
class RunOptions:
    """What to do and where; nothing here changes the numbers of a training."""

    train: bool = False
    vis: bool = False
    eval: bool = False
    pretrained_pkl: str | None = None  # to begin with, look at or measure; None = the experiment's
    expname: str = "exp"  # runs are result_dir/expname-NNN
    result_dir: str = "results"
    restart: bool = False  # begin a new run even if there is an unfinished one
    reload: bool = False  # take the options of the latest run; flags given beat them
    gpus: str | None = None  # "0,1"; "none" = CPU, "cpu:2" = two of it; None = all GPUs
    custom_ops: str = "auto"
    xla: bool = False
    doctor: bool = False  # check the machine
    submit: str | None = None  # target, if not this process
    status: str | None = None  # a run to look at, to stop, to follow
    stop: str | None = None
    tail: str | None = None
    worker_timeout: float = 30.0  # seconds without a sign of life
    run_dir: str | None = None  # None = the experiment's unfinished one, or a new one
    dry_run: bool = False
    gansformer_default: bool = False
    baseline: str | None = None
    recipe: str | None = None  # of presets.RECIPES
    auto: bool = False  # settings by the rules of rules.py


@dataclass(frozen=True)
class DataOptions:
    """Which images to train on."""

    dataset: str = ""  # folder below data_dir
    data_dir: str = "datasets"
    resolution: int | None = None  # None = the largest in the folder
    train_images_num: int | None = None  # None = all
    mirror_augment: bool = False
    ratio: float | None = None  # height / width of saved pictures; None = the dataset's
    rectangle: bool = False  # train pictures that are not square without bars


@dataclass(frozen=True)
class LoopOptions:
    """Length, batch, intervals and outputs of the training loop."""

    total_kimg: float = 25000.0  # thousands of real images shown
    batch_size: int = 32
    batch_gpu: int | None = None  # None = as much as suits the resolution
    seed: int = 0
    precision: str = "float32"  # of products
    bf16_res: int | None = None  # highest resolutions with bfloat16 maps, see set_precision
    # thousands of images in which learning rates fall to a tenth; None: they stay
    lr_decay_kimg: float | None = None
    ema_kimg: float = 10.0  # half-life of the moving average of G
    # while fewer images were shown than ema_kimg / ema_rampup, the half-life is this part of them
    ema_rampup: float | None = None
    g_reg_interval: int = 4  # iterations (lazy regularization, StyleGAN2, Sec. 3.1)
    d_reg_interval: int = 16
    freeze_d: int = 0  # first layers of D that are not trained
    tick_kimg: float = 8.0
    snapshot_ticks: int = 3
    checkpoint_minutes: float = 15.0  # 0 = with snapshots only
    last_snapshots: int = 10  # -1 = all
    keep_samples: bool = True
    summarize: bool = True


@dataclass(frozen=True)
class NetworkNames:
    """Which registered builders make the networks; each takes the options of the default."""

    generator: str = "generator"
    discriminator: str = "discriminator"


@dataclass(frozen=True)
class OptimizerOptions:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) as StyleGAN2 sets it."""

    learning_rate: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    epsilon: float = 1e-8
    clip: float | None = None  # bound of the global norm of the gradient


@dataclass(frozen=True)
class AugmentOptions:
    """Augmentation of what the discriminator sees (ADA, Karras et al. 2020, arXiv:2006.06676)."""

    name: str = "none"  # "ada" adapts p, "fixed" does not, "diffaugment" is another, cheaper one
    pipe: str = "bgc"  # names of training.augment.PIPES, separated by commas
    p: float | None = None  # probability of each transformation; where "ada" begins, None = 0
    target: float = 0.6  # of r_t, the mean sign of D's scores of reals
    kimg: float = 500.0  # thousands of images in which p can go from 0 to 1


@dataclass(frozen=True)
class VisOptions:
    """What to show, and how. If no kind is asked for, all useful ones are made."""

    images: bool = False
    latents: bool = False
    maps: bool = False
    layer_maps: bool = False
    interpolations: bool = False
    noise_var: bool = False
    style_mix: bool = False
    edits: bool = False
    sweeps: bool = False
    grid: bool = False  # one sheet instead of a file per sample
    num: int = 100  # samples
    rich_num: int = 5  # samples of the costly kinds
    section_size: int = 100  # samples held in memory at once
    blending_alpha: float = 0.3  # weight of the image in a blend
    interpolation_density: int = 8  # frames between two ends
    animation: str = "gif"  # or "webp", "apng", "mp4"


@dataclass(frozen=True)
class EvalOptions:
    """What to measure, by which features, on which images."""

    metrics: str | None = None  # names, comma-separated; None = fid with --eval, else nothing
    images_num: int | None = None  # None = as many as each protocol has
    all: bool = False  # all snapshots of the run, not the last one only
    folder: str | None = None  # pictures to measure in place of a generator
    reference: str | None = None  # pictures to compare with in place of the dataset
    features: str = "inception"  # or another network of metrics/features.py
    inception: str | None = None  # file of the Inception graph; None = download it once
    trust_snapshot: str = ""  # feature networks whose code may run, comma-separated


# Name in the flag table, and in the configuration => class.
OPTIONS = {
    "run": RunOptions,
    "slurm": TargetOptions,
    "data": DataOptions,
    "loop": LoopOptions,
    "networks": NetworkNames,
    "aug": AugmentOptions,
    "vis": VisOptions,
    "eval": EvalOptions,
    "G_opt": OptimizerOptions,
    "D_opt": OptimizerOptions,
}
