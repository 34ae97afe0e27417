"""Who takes the values of the flags: functions and options classes, by name.

The flag table calls them by these names. Classes of config/options.py are known from the start;
functions of packages above this one register themselves with :func:`takes_flags` when they are
imported, which the module that dnnlib finds builders with does.
"""

from __future__ import annotations

import inspect

from config.options import OPTIONS

_consumers = dict(OPTIONS)
_choices = {}


def takes_flags(name, choices=None):
    """Decorator: a function takes the values of flags that the flag table addresses to ``name``.

    Args:
      name: as in the flag table, for instance "D_loss".
      choices: {parameter: names that it can have}; the names are in a list, or are the keys of a
        registry, which may grow later. Builders of networks say them with their options.
    """

    def register(func):
        known = _consumers.setdefault(name, func)
        if known is not func and known.__module__ != func.__module__:
            raise ValueError(f"{name!r} is already registered by {known.__module__}")
        declared = getattr(func, "metadata", {}).items()
        _choices[name] = choices or {key: option.get("choices") for key, option in declared}
        _consumers[name] = func
        return func

    return register


def find_consumer(name):
    """The function or class of this name; imports TensorFlow unless it is an options class."""
    if name not in _consumers:
        from dnnlib.tflib import builders  # noqa: PLC0415 - needs TensorFlow

        builders.import_provider()
    return _consumers[name]


def default_of(name, parameter):
    """The default of a parameter; it lives in the signature of the consumer and nowhere else."""
    return inspect.signature(find_consumer(name)).parameters[parameter].default


def choices_of(name, parameter):
    """The names that a parameter can have, in a list; those of a registry as they are by now."""
    find_consumer(name)
    return [choice for choice in _choices[name][parameter] if choice is not None]
