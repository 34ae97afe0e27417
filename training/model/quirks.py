"""What the published GANsformer code computes otherwise than ours, by name.

A network that is loaded from a published snapshot has to compute what its authors' code computed,
mistakes included; a new one computes what is meant. The option ``quirks`` of the builders holds the
names of the quirks that are on, as plain data, so snapshots and ``config.json`` can store it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from dnnlib.errors import OptionError, closest


@dataclass(frozen=True)
class Quirks:
    """Which quirks are on; each comment says what the network does then."""

    # generator
    truncates_given_ws: bool = False  # truncation acts on ws given with take_ws too
    shorter_encoding: bool = False  # without attention, ltnt_emb/emb has no row for the last latent
    zeros_for_maps: bool = False  # without attention, zeros [N] are returned in place of maps
    # mapping
    raw_global_latent: bool = False  # the global latent is not normalised
    attention_in_resnet_only: bool = False  # mapping_ltnt2ltnt needs mapping_resnet
    # synthesis and discriminator
    image_attention_with_latents_only: bool = False  # img2img and local_attention need transformer
    flat_sinusoids: bool = False  # sinusoids run over [-1, 1], where most are nearly constant
    # attention in the synthesis network
    rescaled_simplex: bool = False  # simplex attention is scaled once for each of kmeans_iters
    scaled_by_half: bool = False  # centroids' scores are divided by sqrt(S), their width being 2S
    heads_of_joined: bool = False  # heads are cut from [content, position], not from each of them
    repeated_assignments: bool = False  # assignments, enlarged, count each position four times
    mask_ignored_between_latents: bool = False  # ltnt2ltnt attends to hidden components
    restarted_latents: bool = False  # img2ltnt forgets what ltnt2ltnt did
    growing_latents: bool = False  # latents are not normalised after they were updated
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
                hint = closest(name, known)
                raise OptionError(f"there is no quirk {name!r}" + (f"; {hint}" if hint else ""))
        return cls(**dict.fromkeys(names, True))


NO_QUIRKS = Quirks()


def _all_but(name):
    return tuple(field.name for field in fields(Quirks) if field.name != name)


# Quirks of the published GANsformer code: of its last version, and of that before 2022.
PUBLISHED_QUIRKS = {
    "head": _all_but("truncates_given_ws"),
    "legacy": _all_but("shorter_encoding"),
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
