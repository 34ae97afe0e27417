"""The table of command-line flags, as data. ``config/resolve.py`` reads it.

A flag is one row here and one parameter of the function or options class that uses it; the default
lives in that signature only. Flag names are those of the published command line.
"""

# ruff: noqa: E501 - one row per flag, aligned, is easier to read than wrapped rows

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Callable

from dnnlib.cli import ratio

# Consumer => where its signature is found. Imported only when the defaults are needed.
CONSUMERS = {
    "run": "config.options:RunOptions",
    "data": "config.options:DataOptions",
    "loop": "config.options:LoopOptions",
    "vis": "vis.kinds:VisOptions",
    "eval": "metrics.options:EvalOptions",
    "G": "training.networks:generator",
    "mapping": "training.networks:mapping",
    "synthesis": "training.networks:synthesis",
    "D": "training.networks:discriminator",
    "G_loss": "training.loss:generator_loss",
    "G_reg": "training.loss:path_length_penalty",
    "D_loss": "training.loss:discriminator_loss",
    "D_reg": "training.loss:discriminator_penalty",
    "G_opt": "config.options:OptimizerOptions",
    "D_opt": "config.options:OptimizerOptions",
}


@dataclass(frozen=True)
class Flag:
    """One command-line flag and the parameters it sets."""

    name: str  # as typed, without dashes
    to: str  # space-separated destinations, "consumer.parameter"
    type: Callable[[str], Any]
    help: str
    needs: str = ""  # space-separated flags, one of which must be on for this one to matter
    aliases: str = ""  # space-separated

    @property
    def is_boolean(self):
        """Whether the flag may stand without a value."""
        return self.type is boolean

    def destinations(self):
        """[(consumer, parameter), ...]."""
        return [tuple(destination.split(".")) for destination in self.to.split()]


# Types: text => value, or ArgumentTypeError with the rule.


def boolean(text):
    """True or False, in the usual spellings."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise argparse.ArgumentTypeError(f"must be True or False, got {text!r}")
    return words[text.lower()]


def number(kind, low=None, high=None, above=None):
    """Type of numbers in [low, high], or greater than ``above``."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {name}, got {text!r}") from None
        rules = [
            (low is not None and not value >= low, f"at least {low}"),
            (high is not None and not value <= high, f"at most {high}"),
            (above is not None and not value > above, f"greater than {above}"),
            (not float("-inf") < value < float("inf"), "finite"),
        ]
        for is_broken, rule in rules:
            if is_broken:
                raise argparse.ArgumentTypeError(f"must be {rule}, got {text}")
        return value

    parse.metavar = "N" if kind is int else "X"
    return parse


def count(low=1, high=None):
    """Type of whole numbers in [low, high]."""
    return number(int, low, high)


def one_of(*choices, **other_spellings):
    """Type of names from a list."""

    def parse(text):
        return other_spellings.get(text, text)

    parse.choices = choices  # argparse checks them, with our hints
    return parse


PROBABILITY = number(float, 0, 1)
POSITIVE = number(float, above=0)

# Flags that switch on attention which reads an image, in G, in D, or in either; for ``needs``.
G_ATTENTION = "transformer g-img2img g-local-attention"
D_ATTENTION = "d-transformer d-img2img d-local-attention"
ATTENTION = "transformer d-transformer g-img2img d-img2img g-local-attention d-local-attention"

# fmt: off
GROUPS = {
    "What to do": (
        Flag("train",              "run.train",                            boolean,   "train a model"),
        Flag("vis",                "run.vis",                              boolean,   "look at the experiment's newest snapshot: samples, attention, interpolations and more in its folder visuals"),
        Flag("eval",               "run.eval",                             boolean,   "measure the experiment's newest snapshot by --metrics; or another, or a folder of pictures"),
        Flag("pretrained-pkl",     "run.pretrained_pkl",                   str,       "begin the training with the values in this snapshot; or look at it, or measure it: a path, URL, gdrive: or hf: name", needs="train vis eval"),
        Flag("expname",            "run.expname",                          str,       "name of the experiment; runs are kept in RESULT_DIR/NAME-000 and so on"),
        Flag("result-dir",         "run.result_dir",                       str,       "folder of all runs"),
        Flag("restart",            "run.restart",                          boolean,   "begin a new run even if an unfinished one could be continued"),
        Flag("reload",             "run.reload",                           boolean,   "take the options of the experiment's latest run; flags given here beat them"),
        Flag("gpus",               "run.gpus",                             str,       "GPUs to use, e.g. 0,1,2,5; none for the CPU, cpu:2 for two logical CPU devices; all visible GPUs if not given"),
        Flag("custom-ops",         "run.custom_ops",                       one_of("auto", "ref", "native"), "operations compiled on this machine where that is possible (auto), never (ref), or else an error (native)"),
        Flag("xla",                "run.xla",                              boolean,   "let XLA compile what it can, which is slower on CPUs; native operations stay outside, so with --custom-ops ref it compiles more"),
        Flag("doctor",             "run.doctor",                           boolean,   "check Python, TensorFlow, compilers, and each device's operations against NumPy, and stop"),
        Flag("dry-run",            "run.dry_run",                          boolean,   "print the resolved configuration and stop"),
    ),
    "Presets": (
        Flag("gansformer-default", "run.gansformer_default",               boolean,   "the published GANsformer for the dataset (clevr, ffhq, cityscapes, bedrooms, scenes, others)", aliases="ganformer-default"),
        Flag("baseline",           "run.baseline",                         one_of("GAN", "StyleGAN2", "SAGAN", "kGAN"), "a model of the paper's comparison"),
        Flag("recipe",             "run.recipe",                           one_of("small"), "values that beat a preset's: small, for images up to 64x64, is relativistic losses with R1 and R2, and duplex attention"),
    ),
    "Data": (
        Flag("dataset",            "data.dataset",                         str,       "name of a dataset that prepare_data.py made; also chooses preset values"),
        Flag("data-dir",           "data.data_dir",                        str,       "folder of all datasets"),
        Flag("resolution",         "data.resolution",                      count(4),  "side of the images, a power of two; the dataset's own if not given"),
        Flag("train-images-num",   "data.train_images_num",                count(),   "train on so many images only; on all if not given"),
        Flag("mirror-augment",     "data.mirror_augment",                  boolean,   "flip every other image horizontally"),
        Flag("ratio",              "data.ratio",                           ratio,     "height / width of saved pictures, such as 3/4; the black bars around them are cut off (default: the dataset's)"),
    ),
    "Training": (
        Flag("total-kimg",         "loop.total_kimg",                      number(float, 0), "length, in thousands of real images"),
        Flag("batch-size",         "loop.batch_size",                      count(),   "images in a step, over all GPUs"),
        Flag("batch-gpu",          "loop.batch_gpu",                       count(),   "images at once on a GPU, gradients are accumulated; chosen by the resolution if not given"),
        Flag("seed",               "loop.seed",                            count(0),  "seed of everything random"),
        Flag("precision",          "loop.precision",                       one_of("float32", "tf32", "bfloat16"), "of training: tf32 rounds factors of products on GPUs, bfloat16 convolutions; variables are float32"),
        Flag("g-loss",             "G_loss.name",                          one_of("logistic_ns", "logistic", "hinge", "wgan", "relativistic"), "loss of the generator; relativistic goes with the discriminator's"),
        Flag("d-loss",             "D_loss.name",                          one_of("logistic", "hinge", "wgan", "relativistic"), "loss of the discriminator; relativistic compares each real image with a fake one"),
        Flag("d-reg",              "D_reg.name",                           one_of("r1", "r2", "r1r2", "gp", "none", non="none"), "regularizer of the discriminator"),
        Flag("gamma",              "D_reg.gamma",                          number(float, 0), "weight of the discriminator's regularizer"),
        Flag("d-reg-interval",     "loop.d_reg_interval",                  count(),   "steps from one regularization of the discriminator to the next"),
        Flag("g-reg",              "loop.g_reg",                           one_of("none", "path_length"), "regularizer of the generator"),
        Flag("g-reg-weight",       "G_reg.weight",                         number(float, 0), "weight of the generator's regularizer", needs="g-reg"),
        Flag("g-reg-interval",     "loop.g_reg_interval",                  count(),   "steps from one regularization of the generator to the next", needs="g-reg"),
        Flag("g-lr",               "G_opt.learning_rate",                  POSITIVE,  "learning rate of the generator"),
        Flag("d-lr",               "D_opt.learning_rate",                  POSITIVE,  "learning rate of the discriminator"),
        Flag("clip",               "G_opt.clip D_opt.clip",                POSITIVE,  "bound for the norm of the gradient; none if not given"),
        Flag("ema-kimg",           "loop.ema_kimg",                        number(float, 0), "half-life of the generator's moving average, in thousands of images"),
        Flag("style-mixing",       "G.style_mixing",                       PROBABILITY, "probability of mixing two latents along the layers"),
        Flag("component-mixing",   "G.component_mixing",                   PROBABILITY, "probability of mixing two latents along the components"),
        Flag("component-dropout",  "G.component_dropout",                  PROBABILITY, "probability of hiding a component while training"),
        Flag("attention-dropout",  "G.attention_dropout D.attention_dropout", PROBABILITY, "dropout of attention while training", needs=f"{ATTENTION} mapping-ltnt2ltnt"),
        Flag("attention-form",     "synthesis.attention_form D.attention_form", one_of("folded", "literal"), "compute attention at linear cost, or as the paper writes it: the same function, to read and to alter", needs=ATTENTION),
    ),
    "Output": (
        Flag("tick",               "loop.tick_kimg",                       POSITIVE,  "thousands of images from one status line to the next"),
        Flag("snapshot-ticks",     "loop.snapshot_ticks",                  count(),   "ticks from one snapshot, with sample images, to the next"),
        Flag("last-snapshots",     "loop.last_snapshots",                  count(-1), "snapshots to keep; -1 for all"),
        Flag("keep-samples",       "loop.keep_samples",                    boolean,   "keep the sample images of earlier snapshots"),
        Flag("summarize",          "loop.summarize",                       boolean,   "write TensorBoard events"),
        Flag("truncation-psi",     "G.truncation_psi",                     number(float), "truncation of sample images"),
        Flag("average-by-component", "G.average_by_component",            boolean,   "truncate each latent towards an average of its own, not towards one for all", needs="transformer"),
    ),
    "Looking": (
        Flag("vis-images",         "vis.images",                           boolean,   "samples (of these kinds, all useful ones are made if none is named)", needs="vis"),
        Flag("vis-latents",        "vis.latents",                          boolean,   "z and w of each sample, as .npy", needs="vis"),
        Flag("vis-maps",           "vis.maps",                             boolean,   "attention of the last layer, alone and over the image", needs="vis"),
        Flag("vis-layer-maps",     "vis.layer_maps",                       boolean,   "attention of each layer and head", needs="vis"),
        Flag("vis-interpolations", "vis.interpolations",                   boolean,   "walks from sample to sample in z and in w, with animations", needs="vis"),
        Flag("vis-noise-var",      "vis.noise_var",                        boolean,   "how much the noise changes each pixel", needs="vis"),
        Flag("vis-style-mix",      "vis.style_mix",                        boolean,   "samples with layers, or components, of two", needs="vis"),
        Flag("vis-edits",          "vis.edits",                            boolean,   "samples with one component replaced", needs="vis"),
        Flag("vis-sweeps",         "vis.sweeps",                           boolean,   "animations of truncation, of each component, and of the training", needs="vis"),
        Flag("vis-grid",           "vis.grid",                             boolean,   "one sheet instead of a file for each sample", needs="vis"),
        Flag("vis-num",            "vis.num",                              count(),   "samples", needs="vis"),
        Flag("vis-rich-num",       "vis.rich_num",                         count(),   "samples of the costly kinds", needs="vis"),
        Flag("vis-section-size",   "vis.section_size",                     count(),   "samples held in memory at once", needs="vis"),
        Flag("blending-alpha",     "vis.blending_alpha",                   PROBABILITY, "weight of the image where attention is laid over it", needs="vis"),
        Flag("vis-animation",      "vis.animation",                        one_of("gif", "webp", "apng", "mp4", png="apng"), "format of animations; mp4 needs ffmpeg", needs="vis"),
        Flag("interpolation-density", "vis.interpolation_density",         count(),   "frames from one sample to the next", needs="vis"),
    ),
    "Networks": (
        Flag("latent-size",        "G.z_dim G.w_dim D.a_dim",              count(),   "size of the whole latent, shared evenly by the components"),
        Flag("components-num",     "G.components_num D.components_num",    count(),   "number of latent components", needs="transformer kgan d-transformer"),
        Flag("channel-base",       "synthesis.channel_base D.channel_base", count(),   "channels: at most 2 N / resolution of the layer"),
        Flag("channel-max",        "synthesis.channel_max D.channel_max",  count(),   "channels: at most so many"),
        Flag("g-arch",             "synthesis.architecture",               one_of("orig", "skip", "resnet"), "architecture of the generator"),
        Flag("d-arch",             "D.architecture",                       one_of("orig", "skip", "resnet"), "architecture of the discriminator"),
        Flag("tanh",               "synthesis.tanh",                       boolean,   "end the generator with a tanh"),
        Flag("style",              "synthesis.style",                      boolean,   "modulate the convolutions by the global latent"),
        Flag("latent-stem",        "synthesis.latent_stem",                boolean,   "begin the synthesis with the latent rather than a constant"),
        Flag("local-noise",        "synthesis.local_noise",                boolean,   "add noise in every layer"),
        Flag("mapping-layersnum",  "mapping.mapping_num_layers",           count(),   "layers of the mapping network"),
        Flag("mapping-lrmul",      "mapping.mapping_lrmul",                POSITIVE,  "learning-rate multiplier of the mapping network"),
        Flag("mapping-dim",        "mapping.mapping_dim",                  count(),   "width of the mapping network; a component's size if not given"),
        Flag("mapping-resnet",     "mapping.mapping_resnet",               boolean,   "residual connections in the mapping network"),
        Flag("mapping-shared-dim", "mapping.mapping_shared_dim",           count(),   "width of one mapping of all components together; a mapping of each if not given"),
        Flag("mapping-ltnt2ltnt",  "mapping.mapping_ltnt2ltnt",            boolean,   "self-attention between components in the mapping network"),
    ),
    "Attention": (
        Flag("transformer",        "G.transformer",                        boolean,   "attention between latents and image in the generator"),
        Flag("num-heads",          "G.num_heads D.num_heads",              count(),   "attention heads", needs=f"{ATTENTION} mapping-ltnt2ltnt"),
        Flag("normalize",          "synthesis.norm",                       one_of("batch", "instance", "layer"), "normalization of the image before attention acts on it; batch means layer, as published", needs="transformer"),
        Flag("integration",        "synthesis.integration",                one_of("add", "mul", "both"), "how attention acts on the image: bias, gain, or both", needs="transformer"),
        Flag("kmeans",             "synthesis.kmeans",                     boolean,   "assign image positions to latents by centroids (duplex)", needs="transformer"),
        Flag("kmeans-iters",       "synthesis.kmeans_iters",               count(),   "k-means iterations in a layer", needs="kmeans duplex"),
        Flag("duplex",             "synthesis.duplex",                     boolean,   "let the latents find the centroids in the image, the paper's duplex attention", needs="transformer"),
        Flag("iterative",          "synthesis.iterative",                  boolean,   "carry centroids from layer to layer", needs="kmeans"),
        Flag("g-start-res",        "synthesis.start_res",                  count(0),  "attention in the generator from this log2 resolution on", needs=G_ATTENTION),
        Flag("g-end-res",          "synthesis.end_res",                    count(0),  "attention in the generator below this log2 resolution", needs=G_ATTENTION),
        Flag("g-ltnt2ltnt",        "synthesis.ltnt2ltnt",                  boolean,   "attention between latents in the synthesis", needs="transformer"),
        Flag("g-img2ltnt",         "synthesis.img2ltnt",                   boolean,   "attention from latents to the image in the synthesis", needs="transformer"),
        Flag("g-img2img",          "synthesis.img2img",                    count(0),  "attention between image positions at this log2 resolution of the generator; 0 for none"),
        Flag("g-local-attention",  "synthesis.local_attention",            count(0),  "attention between image positions within windows of this side in the generator; 0 for none"),
        Flag("ltnt-gate",          "G.ltnt_gate D.ltnt_gate",              boolean,   "gate what latents send", needs="transformer d-transformer mapping-ltnt2ltnt"),
        Flag("img-gate",           "synthesis.img_gate D.img_gate",        boolean,   "gate what image positions receive", needs=ATTENTION),
        Flag("d-transformer",      "D.transformer",                        boolean,   "attention between image and aggregators in the discriminator"),
        Flag("d-start-res",        "D.start_res",                          count(0),  "attention in the discriminator from this log2 resolution on", needs=D_ATTENTION),
        Flag("d-end-res",          "D.end_res",                            count(0),  "attention in the discriminator below this log2 resolution", needs=D_ATTENTION),
        Flag("d-ltnt2ltnt",        "D.ltnt2ltnt",                          boolean,   "attention between aggregators", needs="d-transformer"),
        Flag("d-ltnt2img",         "D.ltnt2img",                           boolean,   "attention from image to aggregators", needs="d-transformer"),
        Flag("d-img2img",          "D.img2img",                            count(0),  "attention between image positions at this log2 resolution of the discriminator; 0 for none"),
        Flag("d-local-attention",  "D.local_attention",                    count(0),  "attention between image positions within windows of this side in the discriminator; 0 for none"),
        Flag("use-pos",            "G.use_pos D.use_pos",                  boolean,   "position embeddings of the latents", needs="transformer d-transformer mapping-ltnt2ltnt"),
        Flag("pos-dim",            "synthesis.pos_dim D.pos_dim",          count(),   "width of position embeddings; a component's size if not given", needs=ATTENTION),
        Flag("pos-type",           "synthesis.pos_type D.pos_type",        one_of("sinus", "linear", "trainable", "trainable2d"), "kind of the image's position embeddings", needs=ATTENTION),
        Flag("pos-init",           "synthesis.pos_init D.pos_init",        one_of("uniform", "normal"), "initial values of trained position embeddings", needs=ATTENTION),
        Flag("pos-directions-num", "synthesis.pos_directions_num D.pos_directions_num", count(),   "directions of position embeddings", needs=ATTENTION),
    ),
    "Measuring": (
        Flag("metrics",            "eval.metrics",                         str,       "what to measure, e.g. fid,kid,is,pr,dc,ppl,ls: of every snapshot while training, or with --eval (where fid is the default)"),
        Flag("eval-images-num",    "eval.images_num",                      count(2),  "images to measure; as many as each protocol prescribes if not given"),
        Flag("eval-all",           "eval.all",                             boolean,   "measure all snapshots of the run and plot the curve", needs="eval"),
        Flag("eval-folder",        "eval.folder",                          str,       "measure the pictures in this folder instead of a generator", needs="eval"),
        Flag("eval-reference",     "eval.reference",                       str,       "compare with the pictures in this folder instead of the dataset", needs="eval"),
        Flag("features",           "eval.features",                        one_of("inception", "random", "efficientnet"), "network whose features are compared: Inception's, those of a fixed random network, or EfficientNet-lite0's, which need no download and give figures of their own"),
        Flag("inception",          "eval.inception",                       str,       "file of the Inception graph of 2015 (.tgz or .pb); downloaded once if not given"),
        Flag("trust-snapshot",     "eval.trust_snapshot",                  str,       "NVIDIA's feature networks for pr, ppl and ls: files or folders, comma-separated; runs the code inside"),
    ),
    "k-GAN": (
        Flag("kgan",               "G.merge",                              boolean,   "one image for each latent, composed"),
        Flag("merge-layer",        "synthesis.merge_layer",                count(-1), "log2 resolution where the images are merged; -1 for the last", needs="kgan"),
        Flag("merge-type",         "synthesis.merge_type",                 one_of("sum", "softmax", "max", "leaves"), "how they are merged", needs="kgan"),
        Flag("merge-same",         "synthesis.merge_same",                 boolean,   "one weight for a whole image rather than for each pixel", needs="kgan"),
    ),
}
# fmt: on

# Flags that may differ when a run is continued: they do not change what is trained.
FREE = (
    "train",
    "expname",
    "result-dir",
    "restart",
    "reload",
    "gpus",
    "custom-ops",
    "xla",
    "doctor",
    "dry-run",
    "gansformer-default",
    "baseline",
    "data-dir",
    "ratio",
    "total-kimg",
    "batch-gpu",
    "tick",
    "snapshot-ticks",
    "last-snapshots",
    "keep-samples",
    "summarize",
    "truncation-psi",
    "vis",
    "eval",
    "pretrained-pkl",  # but see config.contradictions
    *(flag.name for flag in GROUPS["Measuring"]),
    *(flag.name for flag in GROUPS["Looking"]),
)

FLAGS = {flag.name: flag for group in GROUPS.values() for flag in group}
