"""One training step with every option: finite, deterministic, and not without effect."""

import functools
import zlib

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import session_config

from config.flags import FLAGS
from config.resolve import add_facts, parse, resolve
from dnnlib import tflib
from training.graph import TrainingGraph

TRAINED = ("G", "mapping", "synthesis", "D", "G_loss", "G_reg", "D_loss", "D_reg")
TRAINED += ("G_opt", "D_opt", "aug")
BASE = "--dataset=cats --batch-size=4 --channel-base=16 --channel-max=6 --mapping-layersnum=2 "
BASE += "--latent-size=8 --gamma=1"

# What an option is tried together with.
ATTENTION = "--transformer --components-num=2"
KMEANS = ATTENTION + " --kmeans"
AGGREGATORS = "--d-transformer --components-num=2"
KGAN = "--kgan --components-num=2 --merge-type=softmax"
PATHS = "--g-reg=path_length"
ADA = "--aug=ada --aug-p=0.6"

CASES = {
    "": """
        --latent-size=12 --channel-base=8 --channel-max=4 --g-arch=orig --g-arch=resnet
        --d-arch=orig --d-arch=skip --tanh --style=False --latent-stem --local-noise=False
        --mapping-layersnum=3 --mapping-lrmul=0.1 --mapping-dim=5 --mapping-resnet
        --g-img2img=3 --d-img2img=3 --g-local-attention=2 --d-local-attention=2
        --style-mixing=0 --seed=1 --batch-size=8 --batch-gpu=2 --g-loss=logistic
        --g-loss=hinge --g-loss=wgan --g-loss=relativistic --d-loss=hinge --d-loss=wgan
        --d-loss=relativistic --d-reg=r2 --d-reg=r1r2 --d-reg=gp
        --d-reg=none --gamma=2 --d-reg-interval=3 --g-reg=path_length --g-lr=0.01
        --d-lr=0.01 --clip=0.01 --ema-kimg=1 --aug=ada --aug=diffaugment
    """,
    ADA: """
        --aug=fixed --aug-p=0.3 --aug-pipe=blit --aug-pipe=geom --aug-pipe=color --aug-pipe=filter
        --aug-pipe=noise --aug-pipe=cutout --aug-pipe=bg --aug-pipe=bgcf --aug-pipe=bgcfn
        --aug-pipe=bgcfnc --aug-pipe=xflip,hue
    """,
    PATHS: """
        --g-reg-weight=1 --g-reg-interval=3
    """,
    ATTENTION: """
        --components-num=4 --num-heads=2 --normalize=batch --normalize=instance
        --normalize=layer --integration=mul --integration=both --kmeans --duplex
        --g-start-res=3 --g-end-res=3 --g-ltnt2ltnt --g-img2ltnt --g-img2img=2
        --g-local-attention=2 --ltnt-gate --img-gate --use-pos --pos-dim=8 --pos-type=linear
        --pos-type=trainable --pos-type=trainable2d --mapping-ltnt2ltnt
        --mapping-shared-dim=6 --component-mixing=1 --component-dropout=0.5
        --attention-dropout=0.5 --attention-form=literal --average-by-component --d-transformer
    """,
    ATTENTION + " --pos-type=trainable": """
        --pos-init=normal
    """,
    ATTENTION + " --pos-type=linear --pos-dim=6": """
        --pos-directions-num=3
    """,
    KMEANS: """
        --kmeans-iters=2 --iterative --duplex
    """,
    AGGREGATORS: """
        --d-ltnt2ltnt --d-ltnt2img --transformer --kgan
        --attention-dropout=0.5 --num-heads=2 --use-pos --ltnt-gate --img-gate
    """,
    KGAN: """
        --merge-layer=2 --merge-type=sum --merge-type=max --merge-type=leaves --merge-same
    """,
    "--g-img2img=3": """
        --attention-dropout=0.5 --img-gate --num-heads=2 --pos-dim=4 --pos-type=linear
    """,
    "--g-local-attention=2": """
        --g-start-res=3 --g-end-res=3
    """,
    "--mapping-ltnt2ltnt": """
        --attention-dropout=0.5 --ltnt-gate
    """,
    ATTENTION + " --duplex": """
        --kmeans-iters=2
    """,
}
GRID = [(together, option) for together, options in CASES.items() for option in options.split()]

# The split of a batch changes nothing but rounding (test_graph.py); how variables begin is not seen
# here, where all are set (test_positional.py).
# In its first step ada does nothing, or what fixed does.
SAME = ("--batch-gpu=2", "--pos-init=normal", "--aug=ada", "--aug=fixed")
ELSEWHERE = {
    "aug-target": "acts on later steps only; see test_augment.py",
    "aug-kimg": "likewise",
    "lr-decay-kimg": "acts on later steps only; see test_graph.py",
    "end-gamma": "acts on later steps only; see test_loss.py",
    "end-gamma-kimg": "likewise",
    "truncation-psi": "acts on samples only",
    "d-start-res": "an 8x8 image has one resolution with attention in D; see BIG",
    "d-end-res": "likewise",
}
BIG = [(AGGREGATORS, "--d-start-res=4"), (AGGREGATORS, "--d-end-res=4")]  # at 16x16
BIG += [("--d-local-attention=4", "--d-start-res=4"), ("--d-local-attention=4", "--d-end-res=4")]


def _config(flags, resolution):
    config = resolve(parse(f"--train {BASE} {flags}".split()))
    add_facts(config, resolution, 3, 100, 0)
    return config


def _initial(name, variable):
    """Values by name, so that two networks differ only where their options do."""
    if not name.startswith(("G/", "D/", "Gs/")) or "dlatent_avg" in name:
        return tflib.run(variable)
    rng = np.random.RandomState(zlib.crc32(name.partition("/")[2].encode()))
    return 0.7 * rng.randn(*variable.shape.as_list()) + ("st_weights" in name)


def _plain_session():
    """A session that does not optimise graphs: they run but a few times here."""
    config = session_config()
    config.graph_options.optimizer_options.opt_level = -1
    return config


def _step(flags, resolution=8, times=1):
    """[(watched values, state afterwards)] of the first step, done ``times`` times."""
    config = _config(flags, resolution)
    num = config["loop"]["batch_size"]
    images = np.random.RandomState(0).randint(0, 256, [num, 3, resolution, resolution])
    with tf.Graph().as_default(), tf.Session(config=_plain_session()).as_default():
        graph = TrainingGraph(config, ["/cpu:0"])
        state = graph.state_vars()
        start = {v: _initial(name, v) for name, v in state.items()}
        results = []
        for _ in range(times):
            tflib.set_vars(start)
            seen = {}
            for phase in graph.phases:
                labels = np.zeros([num, 0], np.float32)
                seen.update(graph.run_phase(phase, 0, images.astype(np.uint8), labels))
            graph.finish_iteration(0)
            results.append((seen, tflib.run(state)))
    return results


@functools.lru_cache(maxsize=None)
def _base(together, resolution):
    """The state after a step without the option."""
    return _step(together, resolution)[0][1]


def _differ(a, b):
    return set(a) != set(b) or any(not np.array_equal(a[name], b[name]) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize(
    "together, option, resolution",
    [(*case, 8) for case in GRID] + [(*case, 16) for case in BIG],
)
def test_one_step(together, option, resolution):
    (seen, state), (again, state_again) = _step(f"{together} {option}", resolution, times=2)
    assert all(np.isfinite(value) for value in seen.values()), seen
    assert seen["grad_norm/G"] > 0 and seen["grad_norm/D"] > 0
    for name, value in state.items():
        assert np.isfinite(value).all(), name
    assert seen == again
    assert not _differ(state, state_again)
    if option not in SAME:
        assert _differ(state, _base(together, resolution))


def test_no_option_is_forgotten():
    """Every flag that reaches networks, losses or optimizers is tried, in each of its words."""
    tried = {}
    for _, option in GRID:
        name, _, word = option[2:].partition("=")
        tried.setdefault(name, set()).add(word)
    for flag in FLAGS.values():
        if any(consumer in TRAINED for consumer, _ in flag.destinations()):
            assert flag.name in tried or flag.name in ELSEWHERE, flag.name
            words = set(getattr(flag.type, "choices", None) or ())
            default = flag.default()
            if flag.name == "merge-type":
                default = "softmax"  # what the others are compared with
            assert words - {default} <= tried.get(flag.name, set()), flag.name
