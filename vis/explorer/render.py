"""From a state of the explorer to its picture, attention and latents, one at a time."""

from __future__ import annotations

import contextlib
import io
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf

from vis.attention_maps import join_maps, layer_regions
from vis.explorer.state import DEFAULT_PSI, NOISE_MODES, Limits, State, parse_name
from vis.latents import MAX_SEED, draw_z, write_latents
from vis.palette import component_colors
from vis.pictures import encode_picture, tile

MAX_MAP_SIZE = 256  # larger attention maps are averaged down to this side
CELL = 48  # side of a layer's regions in their sheet, in pixels
CLOSE_SECONDS = 30


class Explorer:
    """Pictures, attention and latents of names, see state.py.

    Handlers may call it from any thread: a lock lets one at a time use the network.

    Args:
      sampler: Sampler of the model, with batch size 1, in the current default session.
      path: of the model's file; its name goes into the pictures.
    """

    def __init__(self, sampler, path):
        self._sampler = sampler
        self._session = tf.get_default_session()
        self._lock = threading.Lock()
        self._model = Path(path).name
        num_latents = sampler.num_latents
        self._layers = []  # [K, M, h, w] of each attention layer, for some seed
        if sampler.has_attention:
            ws = sampler.ws_of_seeds([0], DEFAULT_PSI)
            self._layers = [layer[0] for layer in sampler.images_and_maps(ws)[1]]
        num_seen = len(self._layers[0]) if self._layers else 0
        self.limits = Limits(
            num_latents=num_latents,
            has_global=num_latents == num_seen + 1 and num_seen > 0,
            num_layers=sampler.ws_shape[-2],
            num_classes=sampler.num_classes,
        )
        # What is asked for again at once, by undo and by a change of layers.
        self._picture = lru_cache(maxsize=64)(self._make_picture)
        self._maps = lru_cache(maxsize=8)(self._make_maps)

    def facts(self) -> dict:
        """What the page has to know about the model, ready for JSON."""
        channels, height, width = self._sampler.image_shape
        resolution = self._sampler.Gs.static_kwargs.get("resolution", height)
        colors = component_colors(len(self._layers[0])) if self._layers else []
        return dict(
            model=self._model,
            image=[channels, height, width],
            ratio=self._sampler.ratio if height == width else height / width,
            latents=self.limits.latent_names(),
            colors=[f"#{bytes(color).hex()}" for color in colors],
            layers=layer_sizes(self.limits.num_layers, resolution),
            attention=[dict(size=m.shape[-1], heads=m.shape[1]) for m in self._layers],
            num_classes=self.limits.num_classes,
            noise_modes=NOISE_MODES,
            psi=DEFAULT_PSI,
            max_seed=MAX_SEED,
        )

    def parse(self, name: str) -> State:
        """The state of a name."""
        return parse_name(name, self.limits)

    def picture(self, state: State) -> bytes:
        """PNG of the state's picture: to the byte the one generate.py makes of the same name."""
        return self._picture(state)

    def latents(self, state: State) -> bytes:
        """Npz of the state's latents, which generate.py --latents takes.

        ``ws`` are what the picture is made of. ``z`` are the seed's with the replaced latents'
        own; layers of a second seed have no z.
        """
        z, ws = self._latents(state)
        file = io.BytesIO()
        name = state.name(self.limits)
        write_latents(file, z, ws, seeds=[state.seed], psi=[state.psi], name=[name])
        return file.getvalue()

    def attention(self, state: State, layer: int = -1, head: int | None = None) -> np.ndarray:
        """[K, h, w] float32: what each component attends to in a layer.

        Args:
          state: State.
          layer: index of an attention layer, -1 is the last.
          head: index of a head; None for the mean over all.

        Raises:
          UserError: no attention, or no such layer or head.
        """
        maps = self._maps(state)
        probs = maps[layer] if -len(maps) <= layer < len(maps) else maps[0]
        height, width = probs.shape[-2:]
        joined = join_maps(list(maps), height, width, layer=layer, head=head)[0]
        return shrink(joined, MAX_MAP_SIZE)

    def regions(self, state: State, head: int | None = None) -> bytes:
        """PNG: the regions of each attention layer side by side, CELL pixels wide each."""
        regions, _ = layer_regions(
            list(self._maps(state)), CELL, CELL, head=head, ratio=self._sampler.ratio
        )
        return encode_picture(tile(regions[0], len(regions[0])), ".png")

    def close(self) -> None:
        """Wait for the picture that is being made, and make no further one."""
        self._lock.acquire(timeout=CLOSE_SECONDS)

    @contextlib.contextmanager
    def _network(self):
        """Only one thread is in here; the session is its default."""
        with self._lock, self._session.graph.as_default(), self._session.as_default():
            yield self._sampler

    def _latents(self, state: State):
        """[1, K, D] z and [1, K, L, D] ws; without the K for a StyleGAN2 network."""
        with self._network() as sampler:
            seeds = [state.seed, *[seed for _, seed in state.rerolls]]
            seeds += [] if state.mix_seed is None else [state.mix_seed]
            z = draw_z(seeds, sampler.z_shape)
            labels = np.zeros([len(seeds), self.limits.num_classes], np.float32)
            if self.limits.num_classes:
                labels[:, state.class_idx] = 1
            full = sampler.map(z, labels)
            start, ws = z[:1].copy(), full[:1].copy()
            if state.mix_layers:
                layers = list(state.mix_layers)
                ws[..., layers, :] = full[-1:, ..., layers, :]
            for row, (latent, _) in enumerate(state.rerolls, start=1):
                start[0, latent], ws[0, latent] = z[row, latent], full[row, latent]
            return start, sampler.truncate(ws, state.psi)

    def _make_picture(self, state: State) -> bytes:
        _, ws = self._latents(state)
        with self._network() as sampler:
            images = sampler.images(ws, state.noise_mode, [state.seed])
        picture = self._sampler.pixels(images)[0]
        text = {"model": self._model, "picture": state.name(self.limits)}
        return encode_picture(picture, ".png", text)

    def _make_maps(self, state: State) -> tuple:
        """[1, K, M, h, w] of each attention layer."""
        self._sampler.require_attention()
        _, ws = self._latents(state)
        with self._network() as sampler:
            return tuple(sampler.images_and_maps(ws, state.noise_mode, [state.seed])[1])


def layer_sizes(num_layers, size):
    """The resolution at which each layer of ws acts, in a network of pictures of this side.

    GANsformer's networks keep a first latent for their stem, StyleGAN2's do not.
    """
    first = num_layers - (2 * int(size).bit_length() - 4)
    return [min(4 << ((max(i - first, 0) + 1) // 2), size) for i in range(num_layers)]


def shrink(maps, size):
    """Average blocks of pixels so that no side is longer: [K, H, W] => [K, <= size, <= size].

    Sides are a small map's times a power of two, so blocks fit; where the K values of a pixel sum
    to one they still do.
    """
    num, height, width = maps.shape
    factor = 1
    while max(height, width) > factor * size:
        factor *= 2
    blocks = maps.reshape(num, height // factor, factor, width // factor, factor)
    return np.ascontiguousarray(blocks.mean(axis=(2, 4), dtype=np.float32))
