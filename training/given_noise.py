"""Noise maps as inputs of the synthesis network, such as those that a projection has found."""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import UserError
from training.sampler import SeedRandom, sample_by_sample

PREFIX = "noise:"  # of the names of noise maps in an .npz file of latents


class GivenNoise(SeedRandom):
    """Stands in for StepRandom: normal numbers are tensors that are given for every place.

    Args:
      tensors: {site: [N, *shape]}; None makes a placeholder for every site that asks.
      prefix: put before the name of every site.
    """

    def __init__(self, tensors=None, prefix=""):
        super().__init__(tf.zeros([1], tf.int64), prefix)
        self.tensors = {} if tensors is None else tensors
        self._makes_placeholders = tensors is None

    def child(self, prefix):
        """The same tensors under another name space."""
        child = GivenNoise(self.tensors, f"{self.prefix}{prefix}/")
        child._makes_placeholders = self._makes_placeholders
        return child

    def normal(self, site, shape):
        """The tensor of this site, [N, *shape]."""
        name = self.prefix + site
        if self._makes_placeholders:
            self.tensors.setdefault(name, tf.placeholder(tf.float32, [None, *shape]))
        return self.tensors[name]


def batches(sampler, ws, noise, with_maps=False):
    """Like Sampler.batches, with noise maps of each picture.

    Args:
      sampler: training.sampler.Sampler.
      ws: [N, *ws_shape].
      noise: {site: [N, *shape]}.
      with_maps: yield attention maps too.

    Yields:
      (images [N, C, H, W], list of maps [N, K, M, H, W] or None), batch after batch.

    Raises:
      UserError: noise of another network, or no attention.
    """
    if with_maps:
        sampler.require_attention()
    feeds, outputs = _graph(sampler, noise, with_maps)
    values = [ws, *[noise[site] for site in sorted(noise)]]
    for begin in range(0, len(ws), sampler.batch_size):
        rows = slice(begin, begin + sampler.batch_size)
        images, *maps = tflib.run(outputs, {x: value[rows] for x, value in zip(feeds, values)})
        yield images, (maps if with_maps else None)


def _graph(sampler, noise, with_maps):
    """Placeholders for ws and the noise maps in the order of their sites, and the outputs."""
    synthesis, sites = sampler.Gs.components.synthesis, sorted(noise)
    options = {"noise_mode": "random"}  # that is, as the source of random numbers says
    if sampler.has_attention:
        options["maps"] = "layers" if with_maps else "none"

    def build(ws, *maps):
        rng = GivenNoise(dict(zip(sites, maps)))
        return synthesis.get_output_for(ws, return_as_list=True, rng=rng, **options)

    with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope("GivenNoise"):
        ws = tf.placeholder(tf.float32, [None, *sampler.ws_shape])
        maps = [tf.placeholder(tf.float32, [None, *noise[site].shape[1:]]) for site in sites]
        num_outputs = 1 + (sampler.num_layers if with_maps else 0)
        try:
            outputs = sample_by_sample(build, [ws, *maps], num_outputs)
        except (KeyError, ValueError) as error:
            raise UserError(f"the noise maps are those of another network ({error})") from None
    return [ws, *maps], outputs


def load_noise(path, num):
    """The noise maps in an .npz file of latents.

    Args:
      path: file that latents.load_ws could read.
      num: N.

    Returns:
      {site: [N, *shape] float32}; {} if the file holds none.

    Raises:
      UserError: there are not as many as latents.
    """
    with np.load(str(path), allow_pickle=False) as arrays:
        names = [name for name in arrays if name.startswith(PREFIX)]
        noise = {name[len(PREFIX) :]: arrays[name].astype(np.float32) for name in names}
    for site, maps in noise.items():
        if maps.ndim < 3 or len(maps) != num:
            shape = list(maps.shape)
            raise UserError(f"{path}: the noise of {site} is {shape}, for {num} latents")
    return noise
