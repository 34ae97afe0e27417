"""The table of command-line flags, as data. ``config/resolve.py`` reads it.

A flag is one row here and one parameter of the consumer that uses it: the function or options class
that ``config/consumers.py`` finds by the first part of the destination, such as ``synthesis`` in
``synthesis.kmeans``. The default lives in that signature only. Flag names are those of the
published command line.
"""

# ruff: noqa: E501 - one row per flag, aligned, is easier to read than wrapped rows

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable

from config import consumers, presets
from config.flag_types import (
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    boolean,
    count,
    key_of,
    number,
    one_of,
    or_none,
    registered,
    some_of,
)
from dnnlib.cli import ratio

# What may happen to a flag when a run is continued or reloaded.
FIXED = "fixed"  # it decides what is trained: the run keeps it
FREE = "free"  # it may change from one session to the next
MODE = "mode"  # it says what to do with a run, and is no part of what the run is


OFF = (False, None, 0, "none")


@dataclass(frozen=True)
class Flag:
    """One command-line flag and the parameters it sets."""

    name: str  # as typed, without dashes
    role: str  # FIXED, FREE or MODE
    to: str  # space-separated destinations, "consumer.parameter"
    type: Callable[[str], Any]
    help: str
    # space-separated flags, one of which must be on for this one to matter, or have a certain value:
    # "transformer pos-type=trainable,trainable2d"
    needs: str = ""
    aliases: str = ""  # space-separated

    @property
    def is_boolean(self):
        """Whether the flag may stand without a value."""
        return self.type is boolean

    @property
    def is_registered(self):
        """Whether the consumer lists the possible values."""
        return getattr(self.type, "is_registered", False)

    def destinations(self):
        """[(consumer, parameter), ...]."""
        return [tuple(destination.split(".")) for destination in self.to.split()]

    def matters(self, values):
        """Whether the flag has an effect, given the values of all flags."""
        for need in self.needs.split():
            name, _, wanted = need.partition("=")
            if values[name] in wanted.split(",") if wanted else values[name] not in OFF:
                return True
        return not self.needs

    def default(self):
        """The default, from the signature of the consumer."""
        return consumers.default_of(*self.destinations()[0])

    def choices(self):
        """Possible values, if they are names from a list; else None."""
        if self.is_registered:
            return consumers.choices_of(*self.destinations()[0])
        return getattr(self.type, "choices", None)


# Flags that switch on attention which reads an image, in G, in D, or in either; for ``needs``.
G_ATTENTION = "transformer g-img2img g-local-attention"
D_ATTENTION = "d-transformer d-img2img d-local-attention"
ATTENTION = "transformer d-transformer g-img2img d-img2img g-local-attention d-local-attention"

# fmt: off
GROUPS = {
    "What to do": (
        Flag("train",              MODE,  "run.train",                      boolean,      "train a model"),
        Flag("vis",                MODE,  "run.vis",                        boolean,      "draw samples, attention maps, interpolations and more of the experiment's newest snapshot, in its folder visuals"),
        Flag("eval",               MODE,  "run.eval",                       boolean,      "measure the experiment's newest snapshot, or what --pretrained-pkl or --eval-folder names, by --metrics"),
        Flag("pretrained-pkl",     MODE,  "run.pretrained_pkl",             or_none,      "snapshot to begin training with, to draw or to measure: a path, URL, gdrive: or hf: name (default: the experiment's newest)", needs="train vis eval"),
        Flag("expname",            MODE,  "run.expname",                    str,          "name of the experiment; its runs are RESULT_DIR/NAME-000, RESULT_DIR/NAME-001 and so on"),
        Flag("result-dir",         MODE,  "run.result_dir",                 str,          "folder of all runs"),
        Flag("restart",            MODE,  "run.restart",                    boolean,      "begin a new run even if an unfinished one could be resumed"),
        Flag("reload",             MODE,  "run.reload",                     boolean,      "take the flags of the experiment's latest run, except those that are given here"),
        Flag("gpus",               MODE,  "run.gpus",                       str,          "GPUs to use, such as 0,1,2,5; none for the CPU, cpu:2 for two logical CPU devices (default: all visible GPUs)"),
        Flag("custom-ops",         FREE,  "run.custom_ops",                 one_of("auto", "ref", "native"), "use natively compiled operations where they can be built (auto), never (ref), or fail without them (native)"),
        Flag("xla",                FREE,  "run.xla",                        boolean,      "compile with XLA, which cannot compile native operations and is slower on CPUs"),
        Flag("doctor",             MODE,  "run.doctor",                     boolean,      "check Python, TensorFlow, compilers, and the operations of each device against NumPy, and stop"),
        Flag("dry-run",            MODE,  "run.dry_run",                    boolean,      "print the resolved configuration and stop"),
    ),
    "Submitting": (
        Flag("submit",             MODE,  "run.submit",                     one_of("detached", "slurm"), "train in a process that survives the terminal (detached), or as a job of a Slurm cluster (slurm)", needs="train"),
        Flag("status",             MODE,  "run.status",                     str,          "print the state of a run: a run's name such as exp-000, an experiment's for its latest run, or a folder"),
        Flag("stop",               MODE,  "run.stop",                       str,          "make a run finish its step, save a checkpoint and stop"),
        Flag("tail",               MODE,  "run.tail",                       str,          "show the output of a run until it ends"),
        Flag("run-dir",            MODE,  "run.run_dir",                    str,          "train in this folder, which may hold an unfinished run (default: by --expname)"),
        Flag("worker-timeout",     FREE,  "run.worker_timeout",             POSITIVE,     "seconds without a sign of life after which a worker of a distributed training is lost and all others stop"),
        Flag("nodes",              MODE,  "slurm.nodes",                    count(),      "number of machines of the Slurm job", needs="submit=slurm"),
        Flag("gpus-per-node",      MODE,  "slurm.gpus_per_node",            count(0),     "number of GPUs on each machine of the Slurm job", needs="submit=slurm"),
        Flag("tasks-per-node",     MODE,  "slurm.tasks_per_node",           count(),      "number of processes on each machine of the Slurm job; one process drives all GPUs of its machine", needs="submit=slurm"),
        Flag("cpus-per-task",      MODE,  "slurm.cpus_per_task",            count(),      "number of CPU cores of each process of the Slurm job (default: the cluster's, often one)", needs="submit=slurm"),
        Flag("time",               MODE,  "slurm.time",                     str,          "time limit of the Slurm job in sbatch's format (default: the partition's)", needs="submit=slurm"),
        Flag("partition",          MODE,  "slurm.partition",                str,          "partition of the Slurm job (default: the cluster's)", needs="submit=slurm"),
    ),
    "Presets": (
        Flag("gansformer-default", FREE,  "run.gansformer_default",         boolean,      "use the published GANsformer settings for the dataset (clevr, ffhq, cityscapes, bedrooms, scenes, others)", aliases="ganformer-default"),
        Flag("baseline",           FREE,  "run.baseline",                   key_of(presets.BASELINES), "train a baseline of the paper's comparison instead of a GANsformer"),
        Flag("recipe",             FREE,  "run.recipe",                     key_of(presets.RECIPES), "settings that override a preset's and --auto's; small: for small pictures of any set, relativistic losses with R1 and R2, gamma 10, batch 8, higher learning rates; the default for sets up to 32x32 that no preset knows"),
        Flag("auto",               FREE,  "run.auto",                       boolean,      "choose batch, gamma, learning rates, moving average and channels by rule from resolution and number of GPUs, as StyleGAN2-ADA's auto"),
    ),
    "Data": (
        Flag("dataset",            FIXED, "data.dataset",                   str,          "name of a dataset made by prepare_data.py, which also selects the preset's values; or path of a zip or folder of images as StyleGAN2-ADA and StyleGAN3 have it"),
        Flag("data-dir",           FREE,  "data.data_dir",                  str,          "folder of all datasets"),
        Flag("resolution",         FIXED, "data.resolution",                count(4),     "height and width of the images, a power of two (default: the dataset's)"),
        Flag("train-images-num",   FIXED, "data.train_images_num",          count(),      "number of training images (default: all); metrics compare with all"),
        Flag("mirror-augment",     FIXED, "data.mirror_augment",            boolean,      "flip half of the training images horizontally"),
        Flag("ratio",              FREE,  "data.ratio",                     ratio,        "height / width of saved pictures, such as 3/4; the black bars around them are cut off (default: the dataset's)"),
        Flag("rectangle",          FIXED, "data.rectangle",                 boolean,      "train pictures that are not square as rectangles, without the black bars that make them square"),
    ),
    "Training": (
        Flag("total-kimg",         FREE,  "loop.total_kimg",                NOT_NEGATIVE, "length of training in thousands of real images"),
        Flag("batch-size",         FIXED, "loop.batch_size",                count(),      "images per step, over all GPUs"),
        Flag("batch-gpu",          FREE,  "loop.batch_gpu",                 count(),      "images per GPU in one pass; larger batches accumulate gradients (default: by resolution)"),
        Flag("seed",               FIXED, "loop.seed",                      count(0),     "random seed of initial values, latents, noise and the order of images"),
        Flag("precision",          FIXED, "loop.precision",                 one_of("float32", "tf32", "bfloat16"), "precision of training: tf32 rounds the inputs of products on GPUs, bfloat16 computes convolutions in 16 bits, and keeps maps in them (--bf16-res)"),
        Flag("bf16-res",           FIXED, "loop.bf16_res",                  count(0),     "number of highest resolutions whose feature maps are bfloat16 between the layers, too, bounded by 256; 0 for convolutions alone (default: 4; 0 with TensorFlow 1.15)", needs="precision=bfloat16"),
        Flag("g-loss",             FIXED, "G_loss.name",                    registered(), "loss of the generator"),
        Flag("d-loss",             FIXED, "D_loss.name",                    registered(), "loss of the discriminator"),
        Flag("d-reg",              FIXED, "D_reg.name",                     registered(non="none"), "regularizer of the discriminator"),
        Flag("gamma",              FIXED, "D_reg.gamma",                    NOT_NEGATIVE, "weight of the discriminator's regularizer"),
        Flag("end-gamma",          FIXED, "D_reg.gamma_end",                NOT_NEGATIVE, "weight of the discriminator's regularizer after --end-gamma-kimg, to which it moves along a cosine (default: --gamma)"),
        Flag("end-gamma-kimg",     FIXED, "D_reg.gamma_kimg",               POSITIVE,     "thousands of images within which gamma moves to --end-gamma", needs="end-gamma"),
        Flag("d-reg-interval",     FIXED, "loop.d_reg_interval",            count(),      "steps between regularizations of the discriminator"),
        Flag("g-reg",              FIXED, "G_reg.name",                     registered(), "regularizer of the generator"),
        Flag("g-reg-weight",       FIXED, "G_reg.weight",                   NOT_NEGATIVE, "weight of the generator's regularizer", needs="g-reg"),
        Flag("g-reg-interval",     FIXED, "loop.g_reg_interval",            count(),      "steps between regularizations of the generator", needs="g-reg"),
        Flag("g-lr",               FIXED, "G_opt.learning_rate",            POSITIVE,     "learning rate of the generator"),
        Flag("d-lr",               FIXED, "D_opt.learning_rate",            POSITIVE,     "learning rate of the discriminator"),
        Flag("lr-decay-kimg",      FIXED, "loop.lr_decay_kimg",             POSITIVE,     "thousands of images within which both learning rates fall to a tenth along a cosine, such as the length of the training (default: they stay)"),
        Flag("freeze-d",           FIXED, "loop.freeze_d",                  count(0),     "number of the discriminator's layers, from the image on, that are not trained; for fine-tuning with --pretrained-pkl"),
        Flag("clip",               FIXED, "G_opt.clip D_opt.clip",          POSITIVE,     "upper bound of the gradient's global norm (default: none)"),
        Flag("ema-kimg",           FIXED, "loop.ema_kimg",                  NOT_NEGATIVE, "half-life of the generator's moving average in thousands of images"),
        Flag("ema-rampup",         FIXED, "loop.ema_rampup",                POSITIVE,     "let the half-life of the moving average grow with the images shown: this part of them, up to --ema-kimg (default: --ema-kimg from the start)"),
        Flag("style-mixing",       FIXED, "G.style_mixing",                 PROBABILITY,  "probability of mixing two latents across layers"),
        Flag("component-mixing",   FIXED, "G.component_mixing",             PROBABILITY,  "probability of mixing two latents across components", needs="transformer kgan"),
        Flag("component-dropout",  FIXED, "G.component_dropout",            PROBABILITY,  "probability of hiding a component in training", needs="transformer kgan"),
        Flag("attention-dropout",  FIXED, "G.attention_dropout D.attention_dropout", PROBABILITY, "dropout rate of attention in training", needs=f"{ATTENTION} mapping-ltnt2ltnt"),
        Flag("attention-form",     FREE,  "synthesis.attention_form D.attention_form", registered(), "compute attention at linear cost (folded), or as the paper writes it (literal): the same function, to read and to alter", needs=ATTENTION),
    ),
    "Augmentation": (
        Flag("aug",                FIXED, "aug.name",                       one_of("none", "ada", "fixed", "diffaugment"), "augment what the discriminator sees, for small training sets: with an adapted probability (ada), a fixed one, or the cheaper DiffAugment"),
        Flag("aug-pipe",           FIXED, "aug.pipe",                       some_of("blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc", "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac", "brightness", "contrast", "lumaflip", "hue", "saturation"), "transformations to draw from: parts, parts by their initials (bgc: blit, geom and color), or single ones, such as xflip,xint,color where turned pictures would be nonsense; see docs/augmentation.md", needs="aug=ada,fixed"),
        Flag("aug-p",              FIXED, "aug.p",                          PROBABILITY,  "probability of each transformation; with ada, the initial one (default: 0)", needs="aug=ada,fixed"),
        Flag("aug-target",         FIXED, "aug.target",                     number(float, -1, 1), "mean sign of the discriminator's scores of real images that ada aims at", needs="aug=ada"),
        Flag("aug-kimg",           FIXED, "aug.kimg",                       POSITIVE,     "thousands of images within which ada can raise the probability from 0 to 1", needs="aug=ada"),
    ),
    "Output": (
        Flag("tick",               FREE,  "loop.tick_kimg",                 POSITIVE,     "thousands of images between status lines"),
        Flag("snapshot-ticks",     FREE,  "loop.snapshot_ticks",            count(),      "ticks between snapshots, which come with sample images"),
        Flag("checkpoint-minutes", FREE,  "loop.checkpoint_minutes",        NOT_NEGATIVE, "minutes between checkpoints, besides those that come with snapshots; 0 for none"),
        Flag("last-snapshots",     FREE,  "loop.last_snapshots",            count(-1),    "number of snapshots to keep, -1 for all"),
        Flag("keep-samples",       FREE,  "loop.keep_samples",              boolean,      "keep the sample images of earlier snapshots"),
        Flag("summarize",          FREE,  "loop.summarize",                 boolean,      "write TensorBoard events"),
        Flag("truncation-psi",     FREE,  "G.truncation_psi",               number(float), "truncation of sample images, 1 for none"),
        Flag("average-by-component", FIXED, "G.average_by_component",       boolean,      "truncate each latent towards its own average instead of the average of all", needs="transformer"),
    ),
    "Sampling and visualisation": (
        Flag("vis-images",         FREE,  "vis.images",                     boolean,      "draw samples (without any of these flags, every kind of use for the model is drawn)", needs="vis"),
        Flag("vis-latents",        FREE,  "vis.latents",                    boolean,      "save z and w of each sample as .npy", needs="vis"),
        Flag("vis-maps",           FREE,  "vis.maps",                       boolean,      "draw the attention of the last layer, alone and over the image", needs="vis"),
        Flag("vis-layer-maps",     FREE,  "vis.layer_maps",                 boolean,      "draw the attention of each layer and head", needs="vis"),
        Flag("vis-interpolations", FREE,  "vis.interpolations",             boolean,      "draw interpolations between samples in z and in w, with animations", needs="vis"),
        Flag("vis-noise-var",      FREE,  "vis.noise_var",                  boolean,      "draw how much the noise changes each pixel", needs="vis"),
        Flag("vis-style-mix",      FREE,  "vis.style_mix",                  boolean,      "draw samples whose layers, or components, come from two latents", needs="vis"),
        Flag("vis-edits",          FREE,  "vis.edits",                      boolean,      "draw samples with one component replaced", needs="vis"),
        Flag("vis-sweeps",         FREE,  "vis.sweeps",                     boolean,      "animate truncation, each component, and the training", needs="vis"),
        Flag("vis-grid",           FREE,  "vis.grid",                       boolean,      "save one sheet instead of a file for each sample", needs="vis"),
        Flag("vis-num",            FREE,  "vis.num",                        count(),      "number of samples to draw", needs="vis"),
        Flag("vis-rich-num",       FREE,  "vis.rich_num",                   count(),      "number of samples for layer maps, interpolations, noise and edits, which cost more", needs="vis"),
        Flag("vis-section-size",   FREE,  "vis.section_size",               count(),      "number of samples held in memory at once", needs="vis"),
        Flag("blending-alpha",     FREE,  "vis.blending_alpha",             PROBABILITY,  "weight of the image where attention is drawn over it", needs="vis"),
        Flag("vis-animation",      FREE,  "vis.animation",                  one_of("gif", "webp", "apng", "mp4", png="apng"), "format of animations; mp4 needs ffmpeg", needs="vis"),
        Flag("interpolation-density", FREE, "vis.interpolation_density",    count(),      "number of frames between two samples of an interpolation", needs="vis"),
    ),
    "Networks": (
        Flag("latent-size",        FIXED, "G.z_dim G.w_dim D.a_dim",        count(),      "width of the whole latent, shared evenly by the components"),
        Flag("components-num",     FIXED, "G.components_num D.components_num", count(),   "number of latent components", needs="transformer kgan d-transformer"),
        Flag("channel-base",       FIXED, "synthesis.channel_base D.channel_base", count(), "layers of resolution r have 2 * channel-base / r channels, up to --channel-max"),
        Flag("channel-max",        FIXED, "synthesis.channel_max D.channel_max", count(), "upper bound of the channels of a layer"),
        Flag("g-network",          FIXED, "networks.generator",             str,          "registered builder of the generator, of this project or of your own"),
        Flag("d-network",          FIXED, "networks.discriminator",         str,          "registered builder of the discriminator"),
        Flag("g-arch",             FIXED, "synthesis.architecture",         registered(), "architecture of the generator"),
        Flag("d-arch",             FIXED, "D.architecture",                 registered(), "architecture of the discriminator"),
        Flag("tanh",               FIXED, "synthesis.tanh",                 boolean,      "apply tanh to the generator's images"),
        Flag("style",              FIXED, "synthesis.style",                boolean,      "modulate the convolutions by the global latent"),
        Flag("latent-stem",        FIXED, "synthesis.latent_stem",          boolean,      "make the first 4x4 map from the latent instead of a constant"),
        Flag("local-noise",        FIXED, "synthesis.local_noise",          boolean,      "add noise in every layer of the generator"),
        Flag("mapping-layersnum",  FIXED, "mapping.mapping_num_layers",     count(),      "number of layers of the mapping network"),
        Flag("mapping-lrmul",      FIXED, "mapping.mapping_lrmul",          POSITIVE,     "learning rate multiplier of the mapping network"),
        Flag("mapping-dim",        FIXED, "mapping.mapping_dim",            count(),      "width of the mapping network's layers (default: a component's width)"),
        Flag("mapping-resnet",     FIXED, "mapping.mapping_resnet",         boolean,      "use residual connections in the mapping network"),
        Flag("mapping-shared-dim", FIXED, "mapping.mapping_shared_dim",     count(),      "width of one mapping of all components together (default: each is mapped on its own)"),
        Flag("mapping-ltnt2ltnt",  FIXED, "mapping.mapping_ltnt2ltnt",      boolean,      "use self-attention between components in the mapping network"),
    ),
    "Attention": (
        Flag("transformer",        FIXED, "G.transformer",                  boolean,      "use attention from image positions to latents in the generator"),
        Flag("num-heads",          FIXED, "G.num_heads D.num_heads",        count(),      "number of attention heads", needs=f"{ATTENTION} mapping-ltnt2ltnt"),
        Flag("normalize",          FIXED, "synthesis.norm",                 registered(), "normalization of the image before attention modulates it; batch means layer, as published (default: none)", needs="transformer"),
        Flag("integration",        FIXED, "synthesis.integration",          registered(), "how attention modulates the image: by a bias (add), a gain (mul) or both", needs="transformer"),
        Flag("kmeans",             FIXED, "synthesis.kmeans",               boolean,      "assign image positions to latents by k-means centroids", needs="transformer"),
        Flag("kmeans-iters",       FIXED, "synthesis.kmeans_iters",         count(),      "number of k-means iterations per layer", needs="kmeans duplex"),
        Flag("duplex",             FIXED, "synthesis.duplex",               boolean,      "use the paper's duplex attention, in which centroids are attended from the image", needs="transformer"),
        Flag("iterative",          FIXED, "synthesis.iterative",            boolean,      "carry centroids from layer to layer", needs="kmeans"),
        Flag("g-start-res",        FIXED, "synthesis.start_res",            count(0),     "lowest log2 resolution with attention in the generator", needs=G_ATTENTION),
        Flag("g-end-res",          FIXED, "synthesis.end_res",              count(0),     "lowest log2 resolution without attention after --g-start-res in the generator", needs=G_ATTENTION),
        Flag("g-ltnt2ltnt",        FIXED, "synthesis.ltnt2ltnt",            boolean,      "use self-attention between latents in the synthesis network", needs="transformer"),
        Flag("g-img2ltnt",         FIXED, "synthesis.img2ltnt",             boolean,      "use attention from latents to image positions in the synthesis network", needs="transformer"),
        Flag("g-img2img",          FIXED, "synthesis.img2img",              count(0),     "log2 resolution of self-attention between image positions in the generator, 0 for none"),
        Flag("g-local-attention",  FIXED, "synthesis.local_attention",      count(0),     "window size of self-attention between image positions in the generator, 0 for none"),
        Flag("ltnt-gate",          FIXED, "G.ltnt_gate D.ltnt_gate",        boolean,      "gate what latents send", needs="transformer d-transformer mapping-ltnt2ltnt"),
        Flag("img-gate",           FIXED, "synthesis.img_gate D.img_gate",  boolean,      "gate what image positions receive", needs=ATTENTION),
        Flag("d-transformer",      FIXED, "D.transformer",                  boolean,      "use attention between aggregators and image positions in the discriminator"),
        Flag("d-start-res",        FIXED, "D.start_res",                    count(0),     "lowest log2 resolution with attention in the discriminator", needs=D_ATTENTION),
        Flag("d-end-res",          FIXED, "D.end_res",                      count(0),     "lowest log2 resolution without attention after --d-start-res in the discriminator", needs=D_ATTENTION),
        Flag("d-ltnt2ltnt",        FIXED, "D.ltnt2ltnt",                    boolean,      "use self-attention between aggregators in the discriminator", needs="d-transformer"),
        Flag("d-ltnt2img",         FIXED, "D.ltnt2img",                     boolean,      "use attention from image positions to aggregators in the discriminator", needs="d-transformer"),
        Flag("d-img2img",          FIXED, "D.img2img",                      count(0),     "log2 resolution of self-attention between image positions in the discriminator, 0 for none"),
        Flag("d-local-attention",  FIXED, "D.local_attention",              count(0),     "window size of self-attention between image positions in the discriminator, 0 for none"),
        Flag("use-pos",            FIXED, "G.use_pos D.use_pos",            boolean,      "use position embeddings of the latents", needs="transformer d-transformer mapping-ltnt2ltnt"),
        Flag("pos-dim",            FIXED, "synthesis.pos_dim D.pos_dim",    count(),      "width of position embeddings (default: a component's width)", needs=ATTENTION),
        Flag("pos-type",           FIXED, "synthesis.pos_type D.pos_type",  registered(), "kind of the image's position embeddings", needs=ATTENTION),
        Flag("pos-init",           FIXED, "synthesis.pos_init D.pos_init",  registered(), "initial values of trained position embeddings", needs="pos-type=trainable,trainable2d"),
        Flag("pos-directions-num", FIXED, "synthesis.pos_directions_num D.pos_directions_num", count(), "number of directions of position embeddings", needs=ATTENTION),
    ),
    "Evaluation": (
        Flag("metrics",            FREE,  "eval.metrics",                   str,          "comma-separated measures, such as fid,kid,is,pr,dc,ppl,ls: of every snapshot in training, or with --eval (default there: fid)"),
        Flag("eval-images-num",    FREE,  "eval.images_num",                count(2),     "number of images to measure (default: as each protocol prescribes)", needs="metrics eval"),
        Flag("eval-all",           MODE,  "eval.all",                       boolean,      "evaluate all snapshots of the run, and draw the curves in its report.html", needs="eval"),
        Flag("eval-folder",        MODE,  "eval.folder",                    str,          "folder of pictures to measure instead of a generator's samples", needs="eval"),
        Flag("eval-reference",     MODE,  "eval.reference",                 str,          "folder of pictures to compare with instead of the dataset", needs="eval"),
        Flag("features",           FREE,  "eval.features",                  one_of("inception", "random", "efficientnet"), "network whose features are compared; random (a fixed random network) and efficientnet (EfficientNet-lite0) need no download and give figures of their own; all see grey images as RGB and RGBA images on white", needs="metrics eval"),
        Flag("inception",          FREE,  "eval.inception",                 str,          "file of the 2015 Inception graph, .tgz or .pb (default: downloaded once)", needs="metrics eval"),
        Flag("trust-snapshot",     FREE,  "eval.trust_snapshot",            str,          "comma-separated files or folders of NVIDIA's feature networks for pr, ppl and ls; the code inside is executed", needs="metrics eval"),
    ),
    "k-GAN": (
        Flag("kgan",               FIXED, "G.merge",                        boolean,      "generate one image per latent and merge them"),
        Flag("merge-layer",        FIXED, "synthesis.merge_layer",          count(-1),    "log2 resolution at which the images are merged, -1 for the last", needs="kgan"),
        Flag("merge-type",         FIXED, "synthesis.merge_type",           registered(), "how the images are merged", needs="kgan"),
        Flag("merge-same",         FIXED, "synthesis.merge_same",           boolean,      "merge with one weight per image instead of one per pixel", needs="kgan"),
    ),
}
# fmt: on

FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}
