"""A trained generator as a tool: latents in, images and attention out, in batches of any size.

Every picture takes the same way, z => ws => truncation => image, so an interpolation's first frame
or an edit of nothing is the very picture of its seed. On a CPU the network sees one sample at a
time, several at once: sums are then rounded the same way in every company, and a picture is the
same, bit by bit, whatever the batch size (and no slower than in batches). A GPU needs batches to be
busy; there the batch size may change a value by float rounding.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from dnnlib import tflib
from dnnlib.errors import UserError
from dnnlib.tflib.random import SeedRandom
from vis.channels import to_pictures, to_pixels
from vis.latents import draw_z, truncate
from vis.pictures import crop_to_ratio

NOISE_MODES = ("const", "random", "none")
PARALLEL_SAMPLES = 4  # on a CPU


def sample_by_sample(function, inputs, num_outputs):
    """Apply a function of batches so that no sample's result depends on the others.

    Args:
      function: takes tensors [N, ...], returns a list of float32 tensors [N, ...].
      inputs: list of tensors [N, ...].
      num_outputs: length of that list.

    Returns:
      The list of outputs.
    """
    if tflib.compat.local_gpu_names():
        return function(*inputs)

    @tf.autograph.experimental.do_not_convert  # it is plain graph-building code
    def of_one(one):
        return [output[0] for output in function(*[x[tf.newaxis] for x in one])]

    dtypes = [tf.float32] * num_outputs
    return tf.map_fn(of_one, list(inputs), dtype=dtypes, parallel_iterations=PARALLEL_SAMPLES)


class Sampler:
    """Makes images from latents with a generator network.

    Args:
      Gs: generator Network with the sub-networks "mapping" and "synthesis".
      batch_size: samples at a time; bounds the memory and changes nothing else.
      class_idx: class of all pictures, for a conditional network; None: classes take turns.
      ratio: height / width of the pictures; None: that of the set the network was trained on.

    Raises:
      UserError: the network has no such class.

    Attributes:
      z_shape: of one sample's z, [K, D] or [D].
      ws_shape: of one sample's ws, [K, L, D] or [L, D].
      image_shape: [C, H, W].
      ratio: height / width of the pictures inside the square images.
      num_classes: 0 for an unconditional network.
      has_attention: whether the network gives attention maps.
      num_layers: number of layers with attention maps.
    """

    def __init__(self, Gs, batch_size=8, class_idx=None, ratio=None):
        self.Gs = Gs
        self.ratio = ratio or Gs.static_kwargs.get("ratio", 1.0)
        self.batch_size = batch_size
        self.class_idx = class_idx
        self.z_shape = Gs.input_shapes[0][1:]
        self.num_classes = Gs.input_shapes[1][1]
        self.image_shape = Gs.output_shapes[0][1:]
        self.ws_shape = Gs.components.synthesis.input_shapes[0][1:]
        self.has_attention = "maps_out" in Gs.output_names
        maps = [x for x, y in zip(Gs.output_shapes, Gs.output_names) if y == "maps_out"]
        self.num_layers = maps[0][2] if maps else 0
        average = Gs.get_var("dlatent_avg")  # [D], or [K, D]
        self._average = average if average.ndim == 1 else average[:, np.newaxis]
        self._graphs = {}
        if class_idx is not None and not 0 <= class_idx < self.num_classes:
            last = self.num_classes - 1
            rule = f"has the classes 0 to {last}" if self.num_classes else "has no classes"
            raise UserError(f"--class={class_idx}: this model {rule}")

    def class_of(self, seed):
        """The class of a seed's picture: the chosen one, else classes take turns over the seeds.

        None for an unconditional network.
        """
        if self.num_classes == 0:
            return None
        return seed % self.num_classes if self.class_idx is None else self.class_idx

    def labels(self, seeds):
        """One-hot rows, [N, num_classes]."""
        rows = np.zeros([len(seeds), self.num_classes], np.float32)
        if self.num_classes:
            rows[np.arange(len(seeds)), [self.class_of(seed) for seed in seeds]] = 1
        return rows

    def require_attention(self):
        """Raise UserError if the network has no attention to show."""
        if not self.has_attention:
            raise UserError("this model has no attention between latents and image to show")

    @property
    def num_latents(self):
        """K: components and, with attention, the global latent; 1 for a StyleGAN2 network."""
        return self.ws_shape[0] if len(self.ws_shape) == 3 else 1

    def require_components(self, num=2):
        """Raise UserError if the network has fewer than ``num`` latents."""
        if self.num_latents < num:
            found = f"this model has {self.num_latents}"
            raise UserError(f"that takes at least {num} latent components, {found}")

    def crop(self, images):
        """Keep of square images, or maps, [..., H, W] what is no black bar."""
        return crop_to_ratio(images, self.ratio)

    def pictures(self, images):
        """Images [N, C, H, W] => the pictures inside them, uint8 [N, H, W, 3], to look at."""
        return to_pictures(self.crop(images))

    def pixels(self, images):
        """The same for files: [N, H, W, C], grey and transparency as they are."""
        return to_pixels(self.crop(images))

    def map(self, z, labels):
        """z [N, *z_shape], labels [N, num_classes] => ws [N, *ws_shape], not truncated."""
        feeds, outputs = self._mapping_graph()
        parts = [np.zeros([0, *self.ws_shape], np.float32)]
        for begin in range(0, len(z), self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            parts += tflib.run(outputs, dict(zip(feeds, (z[rows], labels[rows]))))
        return np.concatenate(parts)

    def truncate(self, ws, psi):
        """Draw ws towards the network's average latent; psi 1 is no truncation."""
        cutoff = self.Gs.static_kwargs.get("truncation_cutoff")
        return truncate(ws, self._average, psi, cutoff)

    def ws_of_seeds(self, seeds, psi=1):
        """Seeds => truncated ws [N, *ws_shape]."""
        z = draw_z(seeds, self.z_shape)
        return self.truncate(self.map(z, self.labels(seeds)), psi)

    def images(self, ws, noise_mode="const", noise_seeds=None):
        """Truncated ws => images.

        Args:
          ws: [N, *ws_shape].
          noise_mode: "const" is the network's own noise, the same for all images; "random" is drawn
            for each image from its noise seed; "none".
          noise_seeds: N ints for "random"; 0, 1, ... by default.

        Returns:
          [N, C, H, W] float32, about [-1, 1].
        """
        parts = [images for images, _ in self.batches(ws, noise_mode, noise_seeds)]
        return np.concatenate(parts) if parts else np.zeros([0, *self.image_shape], np.float32)

    def images_and_maps(self, ws, noise_mode="const", noise_seeds=None):
        """Like :meth:`images`, with the attention maps as a list of [N, K, M, H, W], one per layer.

        Raises:
          UserError: the network has no attention.
        """
        parts = list(self.batches(ws, noise_mode, noise_seeds, with_maps=True))
        layers = zip(*[maps for _, maps in parts])
        images = np.concatenate([images for images, _ in parts])
        return images, [np.concatenate(layer) for layer in layers]

    def batches(self, ws, noise_mode="const", noise_seeds=None, with_maps=False):
        """Yield (images, maps) for batch after batch of ws; maps is None unless asked for."""
        if with_maps:
            self.require_attention()
        seeds = np.arange(len(ws)) if noise_seeds is None else np.asarray(noise_seeds)
        feeds, outputs = self._graph(noise_mode, with_maps)
        for begin in range(0, len(ws), self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            images, *maps = tflib.run(outputs, dict(zip(feeds, (ws[rows], seeds[rows]))))
            yield images, (maps if with_maps else None)

    def _mapping_graph(self):
        """Placeholders for z and labels, and [ws]; built once."""
        if "mapping" not in self._graphs:
            mapping = self.Gs.components.mapping

            def build(z, labels):
                return mapping.get_output_for(z, labels, return_as_list=True)

            with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope("Sampler"):
                z = tf.placeholder(tf.float32, [None, *self.z_shape])
                labels = tf.placeholder(tf.float32, [None, self.num_classes])
                outputs = sample_by_sample(build, [z, labels], num_outputs=1)
            self._graphs["mapping"] = (z, labels), outputs
        return self._graphs["mapping"]

    def _graph(self, noise_mode, with_maps):
        """Placeholders for ws and seeds, and the outputs; built once for each kind of request."""
        key = (noise_mode, with_maps)
        if key not in self._graphs:
            synthesis = self.Gs.components.synthesis
            options = dict(noise_mode=noise_mode)
            if self.has_attention:
                options["maps"] = "layers" if with_maps else "none"

            def build(ws, seeds):
                rng = SeedRandom(seeds)
                return synthesis.get_output_for(ws, return_as_list=True, rng=rng, **options)

            with tf.name_scope(None), tf.control_dependencies(None), tf.name_scope("Sampler"):
                ws = tf.placeholder(tf.float32, [None, *self.ws_shape])
                seeds = tf.placeholder(tf.int64, [None])
                num_outputs = 1 + (self.num_layers if with_maps else 0)
                outputs = sample_by_sample(build, [ws, seeds], num_outputs)
            self._graphs[key] = (ws, seeds), outputs
        return self._graphs[key]


def load_sampler(path, batch_size=8, class_idx=None, ratio=None):
    """Open a snapshot for sampling; takes the moving average Gs of a (G, D, Gs) file.

    Args:
      path: file or URL, see dnnlib.tflib.load_networks.
      batch_size: see Sampler.
      class_idx: see Sampler.
      ratio: see Sampler.

    Raises:
      UserError: no such file, no generator in it, or no such class.
    """
    return Sampler(tflib.load_generator(path), batch_size, class_idx, ratio)
