"""The functions that build networks, by name, and the strict check of their keywords.

A builder is a plain function that takes input tensors and options and returns output tensors. Its
positional parameters without a default are the network's inputs; all others are options.
"""

import importlib
import inspect

from dnnlib.errors import closest

# Given by Network to builders that declare them; they are no options of the network.
FRAMEWORK_ARGUMENTS = ("components", "is_template_graph", "is_training")

# Importing this module registers the builders of the project (dnnlib itself knows none of them).
BUILDERS_MODULE = "training.networks"

_builders = {}


def register_builder(name):
    """Decorator: make a function known as the builder ``name``.

    Args:
      name: what ``Network(func_name=...)`` and snapshots call it. It is part of the file format.
    """

    def register(func):
        known = _builders.setdefault(name, func)
        if known is not func and known.__module__ != func.__module__:
            raise ValueError(f"builder {name!r} is already registered by {known.__module__}")
        _builders[name] = func
        return func

    return register


def find_builder(name):
    """Look up a builder; imports the project's own builders if the name is not known yet.

    Returns:
      The registered function.

    Raises:
      ValueError: there is no such builder; names the closest one.
    """
    if name not in _builders:
        importlib.import_module(BUILDERS_MODULE)
    if name not in _builders:
        hint = closest(name, _builders)
        known = ", ".join(sorted(_builders))
        raise ValueError(f"unknown network builder {name!r}; {hint or 'known: ' + known}")
    return _builders[name]


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
    for option in options:
        if option not in known and option not in others:
            hint = closest(option, known)
            raise TypeError(f"{name}() does not take {option!r}" + (f"; {hint}" if hint else ""))


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
