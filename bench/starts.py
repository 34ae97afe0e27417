"""The spread of images and gradients of fresh generators, for every way latents can be updated.

    python bench/starts.py [--resolutions 32 128] [--seed 0]

Narrow networks: 5 latents of width 16, at most 32 channels, layer norm, residual blocks. In columns
"published" updated latents are not normalised, as in that code (the quirk "growing_latents").
"""

import argparse
import sys

import common

from dnnlib import tflib
from dnnlib.tflib.compat import tf

NUM_LATENTS = 6  # five components and the global latent
MAPPING = dict(mapping_ltnt2ltnt=True, mapping_resnet=True)
# Flags => options of the synthesis network, options of the mapping network.
CASES = {
    "`--transformer`": ({}, {}),
    "`--kmeans`": (dict(kmeans=True), {}),
    "`--duplex`": (dict(duplex=True), {}),
    "`--g-img2ltnt`": (dict(img2ltnt=True), {}),
    "`--g-ltnt2ltnt`": (dict(ltnt2ltnt=True), {}),
    "`--g-img2ltnt --g-ltnt2ltnt --mapping-ltnt2ltnt --integration both`": (
        dict(img2ltnt=True, ltnt2ltnt=True, integration="both"),
        MAPPING,
    ),
}


def spreads(resolution, mapping=(), seed=0, **synthesis):
    """How images of a fresh generator vary, and how fast they change with its latents.

    Args:
      resolution: side of the images.
      mapping: options of the mapping network.
      seed: of the initial values and latents.
      **synthesis: options of the synthesis network.

    Returns:
      Standard deviation of the images; root mean square, over samples and layers, of the gradient
      of a random projection of the image by all latents of a layer (see path_lengths in
      training/loss.py).
    """
    given = {"norm": "layer", "architecture": "resnet", "channel_base": 512, "channel_max": 32}
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(seed)
        G = tflib.Network(
            "G",
            "generator",
            resolution=resolution,
            z_dim=16,
            w_dim=16,
            components_num=NUM_LATENTS - 1,
            transformer=True,
            use_pos=True,
            style_mixing=0.0,
            attention_dropout=0.0,
            mapping=dict(mapping),
            synthesis={**given, **synthesis},
        )
        z = tf.random.stateless_normal([4, *G.input_shapes[0][1:]], seed=[seed, 1])
        images, ws = G.get_output_for(z, None, is_training=True, return_ws=True, maps="none")[:2]
        y = tf.random.stateless_normal(tf.shape(images), seed=[seed, 2]) / resolution
        gradient = tf.gradients(tf.reduce_sum(images * y), [ws])[0]  # [N, K, L, D]
        length = tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradient), axis=[1, 3])))
        tflib.init_uninitialized_vars()
        images, length = session.run([images, length])
    return float(images.std()), float(length)


def main(argv=None):
    """Print the table."""
    common.configure()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resolutions", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    columns = [f"{r}x{r}{kind}" for r in args.resolutions for kind in (", published", "")]
    print("images' deviation, gradients' length")
    print("| flags | " + " | ".join(columns) + " |")
    print("| --- " * (1 + len(columns)) + "|")
    for flags, (synthesis, mapping) in CASES.items():
        cells = []
        for resolution in args.resolutions:
            for quirks in (("growing_latents",), ()):
                found = spreads(resolution, mapping, args.seed, quirks=quirks, **synthesis)
                cells.append("{:.3g}, {:.2g}".format(*found))
        print(f"| {flags} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
