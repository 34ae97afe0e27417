"""Options that several networks share; those of one network stand in its file.

The comment at an option, or above it, documents it. Axis letters are those of docs/architecture.md:
N batch, K latents, L synthesis layers, D width of a latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from dnnlib.tflib.ops.activations import ACTIVATIONS
from dnnlib.tflib.options import COUNT, FREE, SIDE, option
from training.model.image_attention import FORMS
from training.model.layers import SQUARE, grid_size, log2_resolution, num_features
from training.model.positional import INITIALIZERS, POS_TYPES, GridEncodings, LayerEncodings
from training.model.quirks import HasQuirks

NOISE_MODES = (None, "random", "const", "none")
# Attention maps at the image's resolution in one tensor, at their own in one for each layer, or
# none.
MAPS = ("image", "layers", "none")


@dataclass(frozen=True)
class ImageOptions(HasQuirks):
    """Of every network that makes or reads images: its resolutions, channels and layers."""

    resolution: int = option(bound=SIDE)  # side of the images in pixels, a power of two from 4 on
    # height and width of the first map; images are resolution / 4 times as large
    start: Sequence[int] = SQUARE
    num_channels: int = 3  # number of channels of the images
    nonlinearity: str = option("lrelu", tuple(ACTIVATIONS))  # activation of the layers
    conv_clamp: float | None = None  # bound of the layers' outputs; None: none
    resample_kernel: Sequence[float] = (1, 3, 3, 1)  # FIR filter of up- and down-sampling
    # number of channels of feature maps of resolution 2^r, times 2^(r - 1)
    channel_base: int = option(16 << 10, bound=FREE)
    channel_max: int = 512  # largest number of channels of any feature map
    channel_min: int = 1  # smallest number of channels of any feature map
    channel_decay: float = 1.0  # exponent of 2^(r - 1), by which channel_base is divided
    # accepted for StyleGAN2's scripts: both forms of a modulated convolution are one function
    fused_modconv: Any = None
    # quirks of the published code that are reproduced: names of fields of Quirks
    quirks: Sequence[str] = ()

    @property
    def max_log2(self):
        """log2 of the resolution; OptionError if that is not possible."""
        return log2_resolution(self.resolution)

    def size_at(self, r):
        """Height and width of the feature maps of resolution 2^r."""
        return grid_size(self.start, r)

    @property
    def image_shape(self):
        """[C, H, W]."""
        return [self.num_channels, *self.size_at(self.max_log2)]

    def num_features(self, r):
        """Number of channels of the feature maps of resolution 2^r."""
        return num_features(
            r, self.channel_base, self.channel_max, self.channel_min, self.channel_decay
        )


@dataclass(frozen=True)
class AttentionOptions(ImageOptions):
    """Of a network on images that may have attention."""

    components_num: int = 1  # number of latent components, the global latent not counted
    transformer: bool = False  # attention between the image and the latent components
    start_res: int = 0  # log2 of the lowest resolution with attention
    end_res: int = 8  # log2 of the lowest resolution that has no attention any more
    num_heads: int = option(1, bound=COUNT)  # number of attention heads
    ltnt_gate: bool = False  # multiply what latents send, or take, by learned sigmoids
    img_gate: bool = False  # multiply what image positions take, or send, by learned sigmoids
    # log2 of the one resolution at which image positions attend to each other (SAGAN); 0: none
    img2img: int = 0
    # side of the windows within which image positions attend to each other; 0: none
    local_attention: int = 0
    attention_dropout: float = 0.0  # rate of dropout on attention probabilities
    # "folded" is fast; "literal" computes attention as the paper writes it
    attention_form: str = option("folded", FORMS)
    use_pos: bool = False  # give each latent component a trained encoding of its own
    pos_dim: int | None = None  # width of the image's positional encodings; None: D
    pos_type: str = option("sinus", POS_TYPES)  # kind of the image's positional encodings
    # initial values of trained positional encodings
    pos_init: str = option("uniform", tuple(INITIALIZERS))
    # number of directions along which sinusoidal and linear encodings measure positions
    pos_directions_num: int = option(2, bound=COUNT)

    @property
    def has_attention(self):
        """Whether there is attention of any kind."""
        reads_itself = self.img2img or self.local_attention
        if self.quirk.image_attention_with_latents_only:
            reads_itself = False
        return bool(self.transformer or reads_itself)

    def grids(self, dim, dtype):
        """Encodings of the image's positions, of width ``dim`` unless pos_dim says otherwise."""
        if self.quirk.positions_by_layer and self.pos_type == "trainable2d":
            return LayerEncodings(self.pos_dim or dim, self.pos_init, self.start)
        return GridEncodings(
            self.max_log2,
            self.pos_dim or dim,
            self.pos_type,
            self.pos_init,
            self.pos_directions_num,
            self.quirk.flat_sinusoids,
            dtype,
            self.start,
        )


def chosen_noise_mode(options):
    """noise_mode, or what StyleGAN2's randomize_noise says in its place; None if neither does."""
    if options.noise_mode is None and options.randomize_noise is not None:
        return "random" if options.randomize_noise else "const"
    return options.noise_mode
