"""Noise maps as inputs of the synthesis network, such as those that a projection has found."""

import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.random import GivenNoise
from vis.latents import read_arrays
from vis.sampler import sample_by_sample

PREFIX = "noise:"  # of the names of noise maps in an .npz file of latents


def batches(sampler, ws, noise, with_maps=False, source="noise"):
    """Like Sampler.batches, with noise maps of each picture.

    Args:
      sampler: vis.sampler.Sampler.
      ws: [N, *ws_shape].
      noise: {site: [N, *shape]}.
      with_maps: yield attention maps too.
      source: of the noise, for messages.

    Returns:
      Iterator of (images [N, C, H, W], list of maps [N, K, M, H, W] or None), batch after batch.

    Raises:
      UserError: noise of another network, or no attention; before there is any batch.
    """
    if with_maps:
        sampler.require_attention()
    feeds, outputs = _graph(sampler, noise, with_maps, source)
    return _run_batches(sampler, ws, noise, with_maps, feeds, outputs)


def _run_batches(sampler, ws, noise, with_maps, feeds, outputs):
    """What :func:`batches` yields."""
    values = [ws, *[noise[site] for site in sorted(noise)]]
    for begin in range(0, len(ws), sampler.batch_size):
        rows = slice(begin, begin + sampler.batch_size)
        images, *maps = tflib.run(outputs, {x: value[rows] for x, value in zip(feeds, values)})
        yield images, (maps if with_maps else None)


def _graph(sampler, noise, with_maps, source):
    """Placeholders for ws and the noise maps in the order of their sites, and the outputs."""
    synthesis, sites, unused = sampler.Gs.components.synthesis, sorted(noise), set(noise)
    options = {"noise_mode": "random"}  # that is, as the source of random numbers says
    if sampler.has_attention:
        options["maps"] = "layers" if with_maps else "none"

    def build(ws, *maps):
        rng = GivenNoise(dict(zip(sites, maps)))
        outputs = synthesis.get_output_for(ws, return_as_list=True, rng=rng, **options)
        unused.difference_update(rng.asked)
        return outputs

    with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope("GivenNoise"):
        ws = tf.placeholder(tf.float32, [None, *sampler.ws_shape])
        maps = [tf.placeholder(tf.float32, [None, *noise[site].shape[1:]]) for site in sites]
        num_outputs = 1 + (sampler.num_layers if with_maps else 0)
        try:
            outputs = sample_by_sample(build, [ws, *maps], num_outputs)
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{source}: the noise maps are those of another network ({error}); "
                "--noise-mode none draws without them"
            ) from None
    if unused:
        raise UserError(
            f"{source}: holds noise maps for {min(unused)}, where this model has no noise; "
            "--noise-mode none draws without them"
        )
    return [ws, *maps], outputs


def load_noise(path, num):
    """The noise maps in an .npz file of latents.

    Args:
      path: file that latents.load_ws could read.
      num: N.

    Returns:
      {site: [N, *shape] float32}; {} if the file holds none.

    Raises:
      UserError: they cannot be read, or are not as many as the latents.
    """
    arrays = read_arrays(path, lambda name: name.startswith(PREFIX))
    noise = {name[len(PREFIX) :]: maps for name, maps in arrays.items() if maps is not None}
    for site, maps in noise.items():
        if maps.ndim < 3 or len(maps) != num:
            shape = list(maps.shape)
            raise UserError(f"{path}: the noise of {site} is {shape}, for {num} latents")
    return noise
