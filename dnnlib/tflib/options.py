"""Options of builders: declared in a dataclass, and checked strictly.

``@register_builder("net", NetOptions)`` makes ``def net(x, options, *, rng=None)`` a builder that
takes every field of the dataclass NetOptions as a keyword, beside ``rng``.
"""

import dataclasses
import functools
import inspect

from dnnlib.errors import OptionError, closest, must_be_one_of

# Given by Network to builders that declare them; they are no options of the network.
FRAMEWORK_ARGUMENTS = ("components", "is_template_graph", "is_training")

# What limits an integer that a snapshot claims, see stored_network.py.
SIZE, SIDE, COUNT, FREE = "size", "side", "count", "free"


def option(default=dataclasses.MISSING, choices=None, bound=SIZE, builder=None):
    """A field of a dataclass of options; a plain ``name: type = default`` is one, too.

    Args:
      default: the value if none is given; without one, the option is required.
      choices: the values that are allowed.
      bound: for integers, what they cannot exceed in a network with certain variables: SIZE, the
        longest axis of a variable; SIDE, the side of an image or grid that the names of variables
        speak of; COUNT, the number of variables; FREE, anything.
      builder: for a dict of options of a sub-network: its builder.
    """
    metadata = dict(choices=choices, bound=bound, builder=builder)
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def takes_options(func, cls):
    """Turn ``func(*inputs, options, **others)`` into a function that takes keywords.

    Args:
      func: function with a parameter ``options``.
      cls: dataclass, whose fields become keywords.

    Returns:
      Function. It raises OptionError for a value that is not among an option's choices.
    """
    names = [field.name for field in dataclasses.fields(cls)]

    @functools.wraps(func)
    def builder(*inputs, **given):
        options = cls(**{name: given.pop(name) for name in names if name in given})
        for field in dataclasses.fields(cls):
            choices, value = field.metadata.get("choices"), getattr(options, field.name)
            if choices is not None and value not in choices:
                raise OptionError(f"{field.name} {must_be_one_of(value, choices)}")
        return func(*inputs, options=options, **given)

    own = [p for p in inspect.signature(func).parameters.values() if p.name != "options"]
    parameters = [_as_parameter(field) for field in dataclasses.fields(cls)]
    inputs = [p for p in own if p.kind != p.KEYWORD_ONLY]
    others = [p for p in own if p.kind == p.KEYWORD_ONLY]
    builder.__signature__ = inspect.Signature([*inputs, *parameters, *others])
    builder.metadata = {field.name: field.metadata for field in dataclasses.fields(cls)}
    return builder


def _as_parameter(field):
    """A field as a keyword-only parameter."""
    default = inspect.Parameter.empty
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default)


def convert_options(options, cls, **more):
    """Options of another class: those that both have, and ``more``."""
    names = [f.name for f in dataclasses.fields(options) if f.name in cls.__dataclass_fields__]
    return cls(**{**{name: getattr(options, name) for name in names}, **more})


def bound_of(func, name):
    """What bounds an integer option of a builder: one of SIZE, SIDE, COUNT and FREE."""
    return getattr(func, "metadata", {}).get(name, {}).get("bound", SIZE)


def part_builders(func):
    """{option that is a dict of options of a sub-network: builder of the sub-network}."""
    found = {name: data.get("builder") for name, data in getattr(func, "metadata", {}).items()}
    return {name: builder for name, builder in found.items() if builder is not None}


def input_names(func):
    """Names of the inputs of a builder: positional parameters that have no default."""
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = inspect.signature(func).parameters.values()
    return [p.name for p in parameters if p.kind == positional and p.default is p.empty]


def option_parameters(func):
    """Parameters of a builder that are options: {name: inspect.Parameter}."""
    hidden = set(FRAMEWORK_ARGUMENTS) | set(input_names(func))
    parameters = inspect.signature(func).parameters
    return {name: parameter for name, parameter in parameters.items() if name not in hidden}


def check_options(name, func, options, is_static=False):
    """Compare given options with the signature of a builder.

    Args:
      name: the builder's name, for the message.
      func: the builder.
      options: dict, or names, of options that are going to be passed.
      is_static: they are kept with the network, so framework arguments are none of them.

    Raises:
      TypeError: an option that the builder does not take; names the closest one it takes.
    """
    known = option_parameters(func)
    others = () if is_static else FRAMEWORK_ARGUMENTS
    for given in options:
        if given not in known and given not in others:
            hint = closest(given, known)
            raise TypeError(f"{name}() does not take {given!r}" + (f"; {hint}" if hint else ""))


def check_required(name, func, options):
    """Raise TypeError if an option without default is missing from ``options``."""
    known = option_parameters(func).values()
    missing = [p.name for p in known if p.default is p.empty and p.name not in options]
    if missing:
        raise TypeError(f"{name}() needs {', '.join(repr(option) for option in missing)}")


def merge_options(*layers):
    """Merge dicts of options, the later ones winning; nested dicts are merged key by key."""
    merged = {}
    for layer in layers:
        for key, value in layer.items():
            if isinstance(value, dict) and isinstance(merged.get(key), dict):
                merged[key] = merge_options(merged[key], value)
            else:
                merged[key] = value
    return merged


def framework_arguments(func, **available):
    """Those of the framework arguments that the builder declares."""
    declared = inspect.signature(func).parameters
    return {name: value for name, value in available.items() if name in declared}
