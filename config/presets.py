"""Named sets of flag values: the published GANsformer for each dataset, and the baselines."""

GANSFORMER = {
    "transformer": True,
    "components-num": 16,
    "latent-size": 512,
    "normalize": "layer",
    "integration": "mul",
    "kmeans": True,
    "use-pos": True,
    "g-arch": "resnet",
    "mapping-resnet": True,
    "mapping-ltnt2ltnt": True,
    "style": True,
    "gamma": 10.0,
    "mirror-augment": False,
    "attention-dropout": 0.0,  # the published 0.12 never came into effect in training
}

# How to train on scenes, small and plain; of other small pictures the recipe below knows.
# Style mixing and truncation pay in long trainings only.
SMALL = {
    "gamma": 0.05,
    "style-mixing": 0.0,
    "g-lr": 0.004,
    "d-lr": 0.004,
    "ema-kimg": 2.0,
    "truncation-psi": 1.0,
}

# Few small components, without the attention between them that makes pictures alike.
SMALL_LATENTS = {
    "components-num": 8,
    "latent-size": 128,
    "mapping-ltnt2ltnt": False,
    "average-by-component": True,
}

RELATIVISTIC = {
    "g-loss": "relativistic",
    "d-loss": "relativistic",
    "d-reg": "r1r2",
    "d-reg-interval": 4,
}

# Recipes beat presets. This one is for small pictures of any set: scenes, drawings and digits train
# with it (docs/results.md). Up to SMALL_SIDE, sets that presets do not know take it by rule.
RECIPES = {"small": {**SMALL, **RELATIVISTIC, "batch-size": 8, "gamma": 10.0}}
SMALL_SIDE = 32

# Values in which a dataset differs from GANSFORMER.
DATASETS = {
    "clevr": {
        "components-num": 8,
        "latent-size": 128,
        "gamma": 40.0,
        "mapping-ltnt2ltnt": False,
        "style": False,
    },
    "ffhq": {"gamma": 10.0, "mirror-augment": True},
    "cityscapes": {"gamma": 20.0, "mirror-augment": True},
    "bedrooms": {"gamma": 100.0},
    "scenes": {**SMALL_LATENTS, **SMALL},
}

BASELINES = {
    "GAN": {"style": False, "latent-stem": True},
    "SAGAN": {"style": False, "latent-stem": True, "g-img2img": 5},
    "kGAN": {"kgan": True, "merge-layer": 5, "merge-type": "softmax", "components-num": 8},
    "StyleGAN2": {},
}

# What the baselines take from a dataset: nothing where they are published.
BASELINE_DATASETS = {"scenes": SMALL}

# Height / width of the pictures in the published sets, which do not say so themselves.
RATIOS = {"clevr": 0.75, "bedrooms": 188 / 256, "cityscapes": 0.5, "ffhq": 1.0}
