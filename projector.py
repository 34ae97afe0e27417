"""Projection with StyleGAN2's interface; :mod:`vis.projection` does the work.

proj = projector.Projector()
proj.set_network(Gs)
proj.start(target_images)  # [1, C, H, W] in [-1, 1]
while proj.get_cur_step() < proj.num_steps:
proj.step()
images, dlatents = proj.get_images(), proj.get_dlatents()
"""

from __future__ import annotations

import numpy as np

from dnnlib import util
from vis.projection import ProjectionOptions
from vis.projection import Projector as Search
from vis.sampler import Sampler


class Projector:
    """Finds the latents and noise whose picture comes closest to a given one.

    Differs from StyleGAN2's: the distance is that of pixels on all scales unless a perceptual
    network is given (StyleGAN2 downloads one whose file holds code, and runs it), and Gs keeps its
    own noise: the noise that is found is a result, see :meth:`get_noises`.

    Args:
      lpips: metrics.graph_network.GraphNetwork of two batches, see ``project.py``; or None.

    Attributes:
      num_steps, dlatent_avg_samples, initial_learning_rate, initial_noise_factor,
      lr_rampup_length, lr_rampdown_length, noise_ramp_length, regularize_noise_weight: the search,
        to be set before :meth:`set_network`.
      verbose: write a line every tenth of the search.
    """

    def __init__(self, lpips=None):
        self.num_steps = 1000
        self.dlatent_avg_samples = 10000
        self.initial_learning_rate = 0.1
        self.initial_noise_factor = 0.05
        self.lr_rampup_length = 0.05
        self.lr_rampdown_length = 0.25
        self.noise_ramp_length = 0.75
        self.regularize_noise_weight = 1e5
        self.verbose = False
        self._lpips, self._search = lpips, None

    def set_network(self, Gs, minibatch_size=1):
        """Choose the generator.

        Args:
          Gs: Network.
          minibatch_size: must be 1: pictures are projected one at a time.
        """
        if minibatch_size != 1:
            raise ValueError(f"minibatch_size={minibatch_size}: pictures are projected one by one")
        options = ProjectionOptions(
            steps=self.num_steps,
            learning_rate=self.initial_learning_rate,
            rampup=self.lr_rampup_length,
            rampdown=self.lr_rampdown_length,
            w_samples=self.dlatent_avg_samples,
            w_noise=self.initial_noise_factor,
            w_noise_end=self.noise_ramp_length,
            optimize_noise=bool([v for v in Gs.vars if "/noise_strength" in v]),
            noise_weight=self.regularize_noise_weight,
        )
        self._search = Search(Sampler(Gs), options, self._lpips)

    def run(self, target_images):
        """Do the whole search for target_images [1, C, H, W] in [-1, 1].

        Returns:
          EasyDict with ``dlatents``, ``noises`` and ``images``, as the methods below give them.
        """
        self.start(target_images)
        while self.get_cur_step() < self.num_steps:
            self.step()
        return util.EasyDict(
            dlatents=self.get_dlatents(), noises=self.get_noises(), images=self.get_images()
        )

    def start(self, target_images):
        """Begin the search for target_images [1, C, H, W] in [-1, 1]."""
        if self._search is None:
            raise RuntimeError("set_network() comes first")
        target = np.asarray(target_images, np.float32)
        shape = [1, *self._search.sampler.image_shape]
        if list(target.shape) != shape:
            raise ValueError(f"target_images must be {shape}, got {list(target.shape)}")
        self._search.start(target[0])

    def step(self):
        """One step; nothing once the search is done."""
        if self.get_cur_step() >= self.num_steps:
            return
        distance, _ = self._search.step()
        step = self.get_cur_step()
        if self.verbose and step % max(1, self.num_steps // 10) == 0:
            util.log(f"step {step} of {self.num_steps}: distance {distance:.5g}")

    def get_cur_step(self):
        """Number of steps done."""
        return self._search.num_done

    def get_dlatents(self):
        """Latents for Gs.components.synthesis: [1, L, D], or [1, K, L, D] with components."""
        return self._search.found()[0]

    def get_noises(self):
        """Noise maps of the layers, from coarse to fine: list of [1, 1, H, W]."""
        maps = [noise[..., 0] for noise in self._search.found()[1].values()]
        return sorted(maps, key=lambda x: x.shape[-1])

    def get_images(self):
        """The picture of what is found so far: [1, C, H, W] in [-1, 1]."""
        return self._search.look()[1][np.newaxis]
