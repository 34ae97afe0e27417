"""Names and options of published builders in our terms; dnnlib finds them by ``translate``.

Three code bases wrote snapshots: StyleGAN2 ("stylegan2"), GANsformer until early 2022 ("legacy")
and since ("head"). All of them swallow keywords that they do not know, so those are dropped here.
GANsformer's networks get the quirks of their code, see :mod:`training.model.quirks`.
"""

from collections import namedtuple

from dnnlib.errors import UserError, closest
from dnnlib.tflib.builders import find_builder, register_translator
from dnnlib.tflib.options import option_parameters, part_builders
from training.model.quirks import PUBLISHED_QUIRKS, with_quirks

HEAD, LEGACY, STYLEGAN2 = "head", "legacy", "stylegan2"

# builder: ours. family: whose keywords. forced: options that the name itself implies.
_Source = namedtuple("_Source", "builder family forced")


def _gansformer(builder, family):
    return _Source(builder, family, dict(quirks=PUBLISHED_QUIRKS[family]))


PROGRESSIVE = dict(progressive=True)  # configurations B to D

# fmt: off
PUBLISHED_BUILDERS = {
    "Generator":                     _gansformer("generator", HEAD),
    "Discriminator":                 _gansformer("discriminator", HEAD),
    "G_GANformer":                   _gansformer("generator", LEGACY),
    "G_GANsformer":                  _gansformer("generator", LEGACY),
    "D_GANformer":                   _gansformer("discriminator", LEGACY),
    "D_GANsformer":                  _gansformer("discriminator", LEGACY),
    "G_main":                        _Source("stylegan2_generator", STYLEGAN2, {}),
    "G_synthesis_stylegan2":         _Source("stylegan2_synthesis", STYLEGAN2, {}),
    "G_synthesis_stylegan_revised":  _Source("stylegan2_synthesis", STYLEGAN2, PROGRESSIVE),
    "D_stylegan2":                   _Source("stylegan2_discriminator", STYLEGAN2, {}),
    "D_stylegan":                    _Source("stylegan2_discriminator", STYLEGAN2, PROGRESSIVE),
}
# Sub-networks on their own: the name alone does not tell whose they are.
SHARED_BUILDERS = {"G_mapping": "mapping", "G_synthesis": "synthesis"}

OTHER_ARCHITECTURES = {
    "G_style": "StyleGAN", "D_basic": "StyleGAN",
    "G_paper": "Progressive GAN", "D_paper": "Progressive GAN",
}

# Earlier names => ours.
RENAMED = {
    "latent_size":         "z_dim",
    "dlatent_size":        "w_dim",
    "label_size":          "c_dim",
    "fmap_base":           "channel_base",
    "fmap_max":            "channel_max",
    "fmap_min":            "channel_min",
    "fmap_decay":          "channel_decay",
    "mapping_layersnum":   "mapping_num_layers",
    "mapping_layers":      "mapping_num_layers",
    "dlatent_avg_beta":    "w_avg_beta",
    "dlatent_broadcast":   "num_broadcast",
    "style_mixing_prob":   "style_mixing",
    "mbstd_num_features":  "mbstd_num_channels",
    "ltnt_stem":           "latent_stem",
}
# fmt: on

# The last code is passed these two by its training loop, but reads only the later names.
IGNORED_BY_HEAD = ("label_size", "mapping_layersnum")

# Defaults of the published builders that differ from ours; snapshots do not store defaults. (In
# training, the published generator's attention dropout is off unless it was asked for.)
DEFAULTS = {
    "generator": dict(resolution=1024, end_res=20, attention_dropout=0.0),
    "discriminator": dict(resolution=1024, end_res=20),
    "synthesis": dict(resolution=1024, end_res=20),
    "mapping": {},
    "stylegan2_generator": dict(resolution=1024),
    "stylegan2_synthesis": dict(resolution=1024),
    "stylegan2_discriminator": dict(resolution=1024),
    "stylegan2_mapping": {},
}


def _find_source(func_name, options):
    """The _Source of a published builder; None if the name is not a published one."""
    if func_name in PUBLISHED_BUILDERS:
        return PUBLISHED_BUILDERS[func_name]
    if func_name not in SHARED_BUILDERS:
        return None
    role = SHARED_BUILDERS[func_name]
    if "components_num" not in options:
        return _Source("stylegan2_" + role, STYLEGAN2, {})
    family = LEGACY if "dlatent_size" in options else HEAD
    return _gansformer(role, family)


def _rename(source, options):
    """Options that the published function reads, under our names."""
    renamed = {}
    for name, value in options.items():
        if name not in RENAMED:
            renamed[name] = value
        elif not (source.family == HEAD and name in IGNORED_BY_HEAD):
            renamed.setdefault(RENAMED[name], value)
    if source.builder == "discriminator" and "z_dim" in renamed:
        renamed.setdefault("a_dim", renamed.pop("z_dim"))  # the earlier code's latent_size
    synthesis_func = str(renamed.pop("synthesis_func", ""))
    if source.builder == "stylegan2_generator" and synthesis_func:
        synthesis = PUBLISHED_BUILDERS.get(synthesis_func.rsplit(".", 1)[-1])
        if synthesis is None or synthesis.builder != "stylegan2_synthesis":
            raise UserError(f"a generator with synthesis_func={synthesis_func[:100]!r}: unknown")
        renamed.update(synthesis.forced)
    return renamed


def route_options(builder, options):
    """Give every option to the network that takes it.

    Returns:
      (options of the builder, with dicts for its sub-networks; names that nobody takes).
    """
    own = option_parameters(find_builder(builder))
    subs = {
        role: option_parameters(find_builder(name))
        for role, name in part_builders(find_builder(builder)).items()
    }
    routed, unknown = {}, []
    for name, value in options.items():
        takers = [role for role, known in subs.items() if name in known]
        if name in own and name not in subs:
            routed[name] = value
        elif takers and name != "num_broadcast":  # that one follows from the resolution
            for role in takers:
                routed.setdefault(role, {})[name] = value
        else:
            unknown.append(name)
    return routed, unknown


@register_translator
def translate(func_name, options, is_strict=False):
    """Translate a published builder, or one of an earlier snapshot of ours, and its options.

    Args:
      func_name: name of the published function, with or without a module.
      options: its static keywords.
      is_strict: refuse options that nobody takes; otherwise drop them, as the published code does.

    Returns:
      (builder, options) in our terms; None for a name that is not a published one.

    Raises:
      UserError: a published network of an architecture that we do not have.
      TypeError: an unknown option, with ``is_strict``.
    """
    if func_name in DEFAULTS:
        return func_name, with_quirks(options)
    func_name = func_name.rsplit(".", 1)[-1]
    if func_name in OTHER_ARCHITECTURES:
        code = OTHER_ARCHITECTURES[func_name]
        raise UserError(f"{func_name} is {code}'s network; only StyleGAN2's and GANsformer's open")
    source = _find_source(func_name, options)
    if source is None:
        return None
    renamed = {**DEFAULTS[source.builder], **_rename(source, options), **source.forced}
    routed, unknown = route_options(source.builder, renamed)
    if is_strict and unknown:
        own = option_parameters(find_builder(source.builder))
        hint = closest(unknown[0], [*own, *RENAMED])
        text = f"{func_name}() does not take {unknown[0]!r}"
        raise TypeError(text + (f"; {hint}" if hint else ""))
    return source.builder, routed
