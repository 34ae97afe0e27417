"""What the published GANsformer code computes otherwise than ours, by name.

A network that is loaded from a published snapshot has to compute what its authors' code computed,
mistakes included; a new one computes what is meant. The option ``quirks`` of the builders holds the
names of the quirks that are on, as plain data, so snapshots and ``config.json`` can store it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from dnnlib.errors import OptionError, must_be_one_of


@dataclass(frozen=True)
class Quirks:
    """Which quirks are on; each comment says what the network does then."""

    # generator, synthesis
    truncates_given_ws: bool = False  # truncation acts on ws given with take_ws too
    shorter_encoding: bool = False  # without attention, ltnt_emb/emb has no row for the last latent
    zeros_for_maps: bool = False  # without attention, zeros [N] are returned in place of maps
    latents_from_zero: bool = False  # layer i reads latent i, not i + 1; no noise map is left over
    extra_layer_always: bool = False  # also without attention, the last ToRGB has an extra layer
    # mapping
    joint_normalization: bool = False  # the components' z are normalised as one vector
    attention_before_each_layer: bool = False  # not before pairs; none before the last
    raw_global_latent: bool = False  # the global latent is not normalised
    attention_in_resnet_only: bool = False  # mapping_ltnt2ltnt needs mapping_resnet
    # synthesis and discriminator
    image_attention_with_latents_only: bool = False  # img2img and local_attention need transformer
    positions_by_layer: bool = False  # every layer has a trainable2d encoding of its own
    flat_sinusoids: bool = False  # sinusoids run over [-1, 1], where most are nearly constant
    # attention in the synthesis network
    rescaled_simplex: bool = False  # simplex attention is scaled once for each of kmeans_iters
    scaled_by_half: bool = False  # centroids' scores are divided by sqrt(S), their width being 2S
    heads_of_joined: bool = False  # heads are cut from [content, position], not from each of them
    repeated_assignments: bool = False  # assignments, enlarged, count each position four times
    mask_ignored_between_latents: bool = False  # ltnt2ltnt attends to hidden components
    restarted_latents: bool = False  # img2ltnt forgets what ltnt2ltnt did
    growing_latents: bool = False  # latents are not normalised after they were updated
    # StyleGAN2-ADA in PyTorch
    unscaled_norm: bool = False  # demodulation adds 1e-8 to the filters' norm before it scales them
    unclamped_last_rgb: bool = False  # conv_clamp does not act on FromRGB at 4x4
    groups_of_one: bool = False  # mbstd_group_size 1 does not turn the minibatch features off
    # k-GAN
    unweighted_sum: bool = False  # merge_type "sum" weighs all pictures by 1
    blocked_max: bool = False  # merge_type "max" passes no gradient to the scores
    leaves_over_batch: bool = False  # merge_type "leaves" takes a maximum over the whole batch
    # not a mistake: what amplifies rounding is computed in float64, to give the recorded images
    double_precision: bool = False

    @classmethod
    def named(cls, names):
        """Quirks with these names on.

        Raises:
          OptionError: there is no such quirk.
        """
        known = [field.name for field in fields(cls)]
        for name in names:
            if name not in known:
                raise OptionError(f"a quirk {must_be_one_of(name, known)}")
        return cls(**dict.fromkeys(names, True))


NO_QUIRKS = Quirks()


class HasQuirks:
    """What options with a field ``quirks`` have besides."""

    @property
    def quirk(self):
        """Quirks; OptionError if a name in ``quirks`` is unknown."""
        return Quirks.named(self.quirks)


# Those of other code than GANsformer's in TensorFlow.
_OF_ADA = ("unscaled_norm", "unclamped_last_rgb", "groups_of_one")
_OF_TORCH = (
    "latents_from_zero",
    "extra_layer_always",
    "joint_normalization",
    "attention_before_each_layer",
    "positions_by_layer",
)
_SHARED_BY_TORCH = (
    "shorter_encoding",
    "flat_sinusoids",
    "scaled_by_half",
    "heads_of_joined",
    "double_precision",
)


def _all_but(*names):
    return tuple(field.name for field in fields(Quirks) if field.name not in names)


# Quirks of the published GANsformer code: of its last version, of that before 2022, and of the one
# in PyTorch.
PUBLISHED_QUIRKS = {
    "head": _all_but(*_OF_ADA, *_OF_TORCH, "truncates_given_ws"),
    "legacy": _all_but(*_OF_ADA, *_OF_TORCH, "shorter_encoding"),
    "torch": _OF_TORCH + _SHARED_BY_TORCH,
}


def with_quirks(options):
    """Options from earlier snapshots of ours, which say ``published``, in today's words.

    Args:
      options: dict of a builder's options; ``published`` is a boolean or a key of PUBLISHED_QUIRKS.

    Returns:
      Dict with ``quirks`` instead.
    """
    if "published" not in options:
        return options
    options = dict(options)
    published = options.pop("published")
    if published:
        options["quirks"] = PUBLISHED_QUIRKS["head" if published is True else published]
    return options
