"""Projection: the latents, one per component, whose picture comes closest to a given one.

After StyleGAN2 (Karras et al. 2020, arXiv:1912.04958), Appendix D: w starts at the mean of the
mapping network's outputs and moves by Adam, with noise on it that fades away. What is minimised is
the perceptual distance LPIPS where there is a network for it, plus a penalty that keeps optimised
noise maps free of structure.

Differs from the paper: every latent component has a mean, a spread and a w of its own. Without
LPIPS the distance is that of pixels, on all scales from single pixels to 4x4 areas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.random import GivenNoise

SMALLEST = 4  # pixels: width of the coarsest picture that is compared
SMALLEST_NOISE = 8  # pixels: width of the coarsest noise map that is regularised
LPIPS_SIZE = 256  # pixels: larger pictures are averaged down before LPIPS sees them
SPACES = ("w", "w+")


@dataclass(frozen=True)
class ProjectionOptions:
    """How to search; the numbers are those of Appendix D but for the shorter search."""

    space: str = "w"  # one w for all layers, or "w+": one for each
    steps: int = 500
    learning_rate: float = 0.1
    rampup: float = 0.05  # part of the steps
    rampdown: float = 0.25
    w_samples: int = 1000
    w_noise: float = 0.05  # standard deviation, relative to that of w
    w_noise_end: float = 0.75  # part of the steps after which w is free of noise
    optimize_noise: bool = False
    noise_weight: float = 1e5
    seed: int = 0


class Adam:
    """Adam (Kingma & Ba 2015, arXiv:1412.6980) for a dict of arrays, changed in place."""

    def __init__(self, arrays, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self._arrays, self._betas, self._epsilon = arrays, (beta1, beta2), epsilon
        self._moments = {name: [np.zeros_like(x), np.zeros_like(x)] for name, x in arrays.items()}
        self._step = 0

    def update(self, gradients, learning_rate):
        """One step against the gradients, {name: array}."""
        self._step += 1
        for name, gradient in gradients.items():
            unbiased = []
            for i, power in enumerate((gradient, np.square(gradient))):
                beta, moments = self._betas[i], self._moments[name]
                moments[i] = beta * moments[i] + (1 - beta) * power
                unbiased.append(moments[i] / (1 - beta**self._step))
            mean, square = unbiased
            change = learning_rate * mean / (np.sqrt(square) + self._epsilon)
            self._arrays[name] -= change.astype(np.float32)


def learning_rate_at(place, options):
    """Learning rate at a place of the search: a linear rise, a plateau, half a cosine down.

    Args:
      place: part of the search that is done, in [0, 1).
      options: ProjectionOptions.
    """
    down = min(1.0, (1 - place) / max(options.rampdown, 1e-8))
    up = min(1.0, place / max(options.rampup, 1e-8))
    return options.learning_rate * up * (0.5 - 0.5 * np.cos(down * np.pi))


def w_noise_at(place, options):
    """Noise on w relative to its spread: falls as a square and then is zero."""
    return options.w_noise * max(0.0, 1 - place / options.w_noise_end) ** 2


def halve(x):
    """Averages of 2x2 areas: [N, H, W, C] => [N, H/2, W/2, C]."""
    return tf.nn.avg_pool(x, [1, 2, 2, 1], [1, 2, 2, 1], "VALID")


def multiscale_distance(a, b):
    """Mean over scales of the mean squared difference.

    Args:
      a: tensor [N, H, W, C].
      b: tensor [N, H, W, C].

    Returns:
      Tensor [].
    """
    difference, parts = a - b, []
    while True:
        parts.append(tf.reduce_mean(tf.square(difference)))
        if min(difference.shape.as_list()[1:3]) < 2 * SMALLEST:
            return tf.add_n(parts) / len(parts)
        difference = halve(difference)


def noise_penalty(noise):
    """How much neighbours in a noise map have to do with each other, on all scales (App. D).

    The squares of the mean products of each value with its left and its upper neighbour, summed
    over the map and its halvings (by averages, times two, which keep white noise at unit variance).

    Args:
      noise: tensor [N, H, W, 1].

    Returns:
      Tensor [].
    """
    total = 0.0
    while True:
        for axis in (1, 2):
            product = noise * tf.roll(noise, shift=1, axis=axis)
            total += tf.reduce_sum(tf.square(tf.reduce_mean(product, axis=[1, 2, 3])))
        if noise.shape.as_list()[1] <= SMALLEST_NOISE:
            return total
        noise = 2 * halve(noise)


class Projector:
    """Projects pictures, one at a time, with a graph that is built once.

    Args:
      sampler: vis.sampler.Sampler.
      options: ProjectionOptions.
      lpips: metrics.graph_network.GraphNetwork of two batches, [N, 3, H, W] in [0, 255]; or None.

    Raises:
      UserError: noise to search where the model has none.
    """

    def __init__(self, sampler, options, lpips=None):
        self.sampler, self.options, self._lpips = sampler, options, lpips
        self._find_spread()
        self._build()

    def _find_spread(self):
        """The mean of w, and each component's spread, from random latents."""
        sampler = self.sampler
        ws = sampler.ws_of_seeds(range(self.options.w_samples))
        if self.options.space == "w":
            ws = ws.mean(axis=-2)  # over layers, which have the same w
        self._mean = ws.mean(axis=0, keepdims=True)
        # Standard deviation as a distance: the square root of the sum over the D dimensions.
        variance = np.square(ws - self._mean).sum(axis=-1, keepdims=True)
        self._spread = np.sqrt(variance.mean(axis=0, keepdims=True))

    def to_ws(self, w):
        """What is searched for, [N, K, D] or [N, K, L, D], => ws [N, K, L, D], for arrays."""
        if self.options.space == "w+":
            return w
        return np.repeat(w[..., np.newaxis, :], self.sampler.ws_shape[-2], axis=-2)

    def _build(self):
        """Image and distance as functions of ws, noise and target; their gradients."""
        sampler = self.sampler
        channels, height, width = sampler.image_shape
        options = {"maps": "none"} if sampler.has_attention else {}
        options["noise_mode"] = "random" if self.options.optimize_noise else "const"
        with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope("Projector"):
            self._ws = tf.placeholder(tf.float32, [1, *sampler.ws_shape])
            self._target = tf.placeholder(tf.float32, [1, channels, height, width])
            rng = GivenNoise() if self.options.optimize_noise else None
            synthesis = sampler.Gs.components.synthesis
            (images,) = synthesis.get_output_for(self._ws, return_as_list=True, rng=rng, **options)
            images = tf.ensure_shape(images, [1, channels, height, width])
            self._noise = rng.tensors if rng else {}
            if rng and not self._noise:
                raise UserError("--optimize-noise: this model has no noise to search; leave it out")
            self._images = images
            pictures = [tf.transpose(x, [0, 2, 3, 1]) for x in (images, self._target)]
            self._distance = multiscale_distance(*[_on_white(x) for x in pictures])
            self._seen = [_as_lpips_sees(x) for x in pictures]
            # The gradient of LPIPS comes from a graph of its own.
            self._pushed = tf.placeholder(tf.float32, self._seen[0].shape)
            is_pushed = self._lpips is not None
            loss = tf.reduce_sum(self._seen[0] * self._pushed) if is_pushed else self._distance
            for noise in self._noise.values():
                size = noise.shape.as_list()
                square = tf.reshape(noise, [-1, size[-3], size[-2], 1])
                loss += self.options.noise_weight * noise_penalty(square)
            inputs = {"ws": self._ws, **self._noise}
            names = list(inputs)
            gradients = tf.gradients(loss, [inputs[name] for name in names])
            self._gradients = {n: g for n, g in zip(names, gradients) if g is not None}

    def search(self, target, on_step=None):
        """Find the latents of a picture.

        Args:
          target: [C, H, W] float32 in [-1, 1].
          on_step: function(number of steps done, distance, image [C, H, W]), called before the
            first step and after each one.

        Returns:
          (ws [1, *ws_shape], {site: noise map [1, *shape]}), float32.
        """
        self.start(target)
        for _ in range(self.options.steps):
            before = self.step()
            if on_step:
                on_step(self.num_done - 1, *before)
        if on_step:
            on_step(self.options.steps, *self.look())
        return self.found()

    def start(self, target):
        """Begin the search for a picture, [C, H, W] float32 in [-1, 1]; then :meth:`step`."""
        self._searched, self.num_done = target, 0
        self._random = np.random.RandomState(self.options.seed)
        self._arrays = {"ws": self._mean.astype(np.float32).copy()}
        for site in sorted(self._noise):
            shape = [1, *self._noise[site].shape.as_list()[1:]]
            self._arrays[site] = _normalised(self._random.randn(*shape).astype(np.float32))
        self._adam = Adam(self._arrays)

    def step(self):
        """One step of the search; returns distance and image [C, H, W] before it."""
        options, place = self.options, self.num_done / self.options.steps
        shape = self._arrays["ws"].shape
        shift = self._random.randn(*shape) * self._spread * w_noise_at(place, options)
        distance, image, gradients = self._evaluate(self._feed(shift))
        if options.space == "w":  # all layers have the same w
            gradients["ws"] = gradients["ws"].sum(axis=-2)
        self._adam.update(gradients, learning_rate_at(place, options))
        for site in self._noise:
            self._arrays[site][...] = _normalised(self._arrays[site])
        self.num_done += 1
        return distance, image

    def look(self):
        """Distance and image [C, H, W] of what is found so far."""
        return self._evaluate(self._feed(0))[:2]

    def found(self):
        """What is found so far: (ws [1, *ws_shape], {site: noise map [1, *shape]}), float32."""
        noise = {site: self._arrays[site].copy() for site in self._noise}
        return self.to_ws(self._arrays["ws"].copy()), noise

    def _feed(self, shift):
        """Values of the graph's inputs, with ``shift`` added to the latents."""
        feed = {self._noise[site]: self._arrays[site] for site in self._noise}
        feed[self._ws] = self.to_ws((self._arrays["ws"] + shift).astype(np.float32))
        feed[self._target] = self._searched[np.newaxis]
        return feed

    def _evaluate(self, feed):
        """(distance, image, gradients) at one place."""
        if self._lpips is None:
            distance, images, gradients = tflib.run(
                [self._distance, self._images, self._gradients], feed
            )
            return float(distance), images[0], gradients
        seen, target, images = tflib.run([*self._seen, self._images], feed)
        distance, pushed = self._lpips.value_and_gradient(seen, target)
        gradients = tflib.run(self._gradients, {**feed, self._pushed: pushed})
        return float(distance[0]), images[0], gradients


def _on_white(pictures):
    """[N, H, W, C] in [-1, 1]: colors of RGBA are laid on white, so hidden ones do not count."""
    if pictures.shape.as_list()[3] != 4:
        return pictures
    alpha = tf.clip_by_value((pictures[..., 3:] + 1) / 2, 0, 1)
    return tf.concat([pictures[..., :3] * alpha + (1 - alpha), pictures[..., 3:]], axis=3)


def _as_lpips_sees(pictures):
    """[N, H, W, C] in [-1, 1] => [N, 3, h, w] in [0, 255], averaged down to LPIPS_SIZE.

    RGBA lies on white.
    """
    pictures = _on_white(pictures)[..., :3]
    while pictures.shape.as_list()[1] > LPIPS_SIZE:
        pictures = halve(pictures)
    if pictures.shape.as_list()[3] == 1:
        pictures = tf.tile(pictures, [1, 1, 1, 3])
    return tf.transpose((pictures + 1) * 127.5, [0, 3, 1, 2])


def _normalised(noise):
    """A noise map with zero mean and unit variance."""
    noise = noise - noise.mean()
    return noise / np.maximum(noise.std(), 1e-8)
