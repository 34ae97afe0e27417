"""StyleGAN2-ADA's networks in TensorFlow (Karras et al. 2020, arXiv:2006.06676), in our terms.

They are StyleGAN2's with other defaults, labels that are embedded, and clipped layers; the names of
their builders mean other networks elsewhere.
"""

import functools

import numpy as np

from dnnlib import util
from dnnlib.errors import UserError
from dnnlib.tflib import builders
from dnnlib.tflib.stored_network import StoredNetwork
from training.published_names import RENAMED, route_options

ADA_VERSION = 5  # of the snapshot's format

BUILDERS = {
    "G_main": "stylegan2_generator",
    "G_mapping": "stylegan2_mapping",
    "G_synthesis": "stylegan2_synthesis",
    "D_main": "stylegan2_discriminator",
}

# Its names of options => ours, where they are not StyleGAN2's.
RENAMED_BY_ADA = {"fmap_const": "const_channels", "use_spectral_norm": "spectral_norm"}

# Its defaults that differ from ours; snapshots do not store defaults.
DEFAULTS = {
    "stylegan2_generator": dict(resolution=1024, mapping_fmaps=None, embed_labels=True),
    "stylegan2_mapping": dict(mapping_fmaps=None, embed_labels=True),
    "stylegan2_synthesis": dict(resolution=1024),
    "stylegan2_discriminator": dict(
        resolution=1024, mbstd_group_size=None, embed_labels=True, quirks=["groups_of_one"]
    ),
}


@functools.lru_cache(maxsize=None)
def say_once(text):
    """Log a line about a file, once for all of its networks."""
    util.log(text)


def say_float16(num):
    """Tell that layers that were trained in float16 are computed in float32."""
    if num:
        say_once(
            f"Layers that were trained in float16 (num_fp16_res={num}) are computed "
            "in float32; pictures made in float16 differ from ours by about 0.01"
        )


def _is_ada(stored, version):
    """Whether a network, whose builder has a name that other code has too, is StyleGAN2-ADA's."""
    if stored.builder not in BUILDERS or "components_num" in stored.static_kwargs:
        return False
    if stored.builder in ("G_mapping", "G_synthesis"):
        return version == ADA_VERSION
    # Its format also holds StyleGAN2's generators, which have a variable that its own have not.
    return stored.builder == "D_main" or "lod" not in stored.variables


@builders.register_importer
def import_ada(found, version):
    """Turn a network of StyleGAN2-ADA in TensorFlow into ours.

    Args:
      found: StoredNetwork, or what other importers take.
      version: of the snapshot's format.

    Returns:
      StoredNetwork, or None if it is no such network.

    Raises:
      UserError: it is made of parts that are not StyleGAN2-ADA's.
    """
    if not isinstance(found, StoredNetwork) or not _is_ada(found, version):
        return None
    builder = BUILDERS[found.builder]
    options = _rename(builder, found.static_kwargs)
    say_float16(options.get("num_fp16_res"))
    routed, _ = route_options(builder, {**DEFAULTS[builder], **options})
    return _with_variables(found, options)._replace(builder=builder, static_kwargs=routed)


def _rename(builder, options):
    """Options under our names."""
    options = dict(options)
    for role in ("mapping", "synthesis"):
        part = str(options.pop(f"{role}_func", f"G_{role}")).rsplit(".", 1)[-1]
        if part != f"G_{role}":
            raise UserError(f"a generator with {role}_func={part[:100]!r}, which is unknown")
    renamed = {RENAMED_BY_ADA.get(k, RENAMED.get(k, k)): value for k, value in options.items()}
    if builder == "stylegan2_discriminator":
        renamed["cmap_dim"] = renamed.pop("mapping_fmaps", None)
    if renamed.get("style_mixing", 0.0) is None:
        renamed["style_mixing"] = 0.0
    return renamed


def _with_variables(stored, options):
    """The same with our variables: without those that change nothing, with one that we have."""
    variables = {
        name: value
        for name, value in stored.variables.items()
        if "/PAGAN/" not in name  # acts in its training only
        and not (name.endswith("/noise_strength") and options.get("use_noise") is False)
    }
    if stored.builder == "G_main":
        variables["lod"] = np.zeros([], np.float32)
    components = {role: _with_variables(part, options) for role, part in stored.components.items()}
    return stored._replace(variables=variables, components=components)
