"""The functions that build networks, by name, and the strict check of their keywords.

A builder is a plain function that takes input tensors and options and returns output tensors. Its
positional parameters without a default are the network's inputs; all others are options.
"""

import importlib
import inspect

from dnnlib.errors import closest, must_be_one_of

# Given by Network to builders that declare them; they are no options of the network.
FRAMEWORK_ARGUMENTS = ("components", "is_template_graph", "is_training")

# An application's own module on the search path, which registers its builders and translators when
# it is imported. dnnlib imports it by this name when it first needs them.
PROVIDER = "tflib_builders"

_builders = {}
_translators = []
_importers = []


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


def register_translator(func):
    """Decorator: make a function known that translates builders and options of other code.

    Args:
      func: ``func(name, options, is_strict)`` returns (builder, options) in the words of registered
        builders, or None for a name that it does not know. With ``is_strict`` it raises TypeError
        for an option that nobody takes, otherwise it drops it.
    """
    if func not in _translators:
        _translators.append(func)
    return func


def register_importer(func):
    """Decorator: make a function known that turns networks of other code into ours.

    Args:
      func: ``func(found, version)`` gets what a snapshot holds: a PickledModule and None, or a
        StoredNetwork in that code's words and the version of its format. It returns a StoredNetwork
        in the words of registered builders; None if the network is not of the code that it knows.
    """
    if func not in _importers:
        _importers.append(func)
    return func


def _import_provider():
    """Let the application register what it has; it may have nothing."""
    try:
        importlib.import_module(PROVIDER)
    except ModuleNotFoundError as error:
        if error.name != PROVIDER:
            raise


def translate(name, options, is_strict=False):
    """Translate a builder of other code, for instance of a published snapshot, and its options.

    Args:
      name: of the function, with or without a module.
      options: dict of its keywords.
      is_strict: refuse options that nobody takes instead of dropping them.

    Returns:
      (builder, options) in the words of registered builders; None if no translator knows the name.

    Raises:
      UserError: a network of an architecture that the application does not have.
      TypeError: an unknown option, with ``is_strict``.
    """
    _import_provider()
    for translator in _translators:
        translated = translator(name, options, is_strict)
        if translated is not None:
            return translated
    return None


def import_network(found, version=None):
    """Turn a network of other code, whose variables or layers are not ours, into ours.

    Args:
      found: PickledModule, or StoredNetwork in that code's words.
      version: of its format, for a StoredNetwork.

    Returns:
      StoredNetwork; None if no importer knows the code.

    Raises:
      UserError: the network is damaged, or of an architecture that the application does not have.
    """
    _import_provider()
    for importer in _importers:
        imported = importer(found, version)
        if imported is not None:
            return imported
    return None


def resolve(name, options):
    """Builder and options for a name that is given to Network: a registered one, or another code's.

    Args:
      name: for instance "generator", "my.module.generator" or "G_main".
      options: dict of keywords, in the words of the named function.

    Returns:
      (builder, options) in the words of registered builders.
    """
    if not isinstance(name, str):
        raise TypeError(f"func_name must be the name of a builder, got {name!r}")
    own_name = name.rsplit(".", 1)[-1]
    if own_name in _builders:
        return own_name, dict(options)
    return translate(name, options, is_strict=True) or (own_name, dict(options))


def find_builder(name):
    """Look up a builder; if the name is not known yet, the application may register it now.

    Returns:
      The registered function.

    Raises:
      ValueError: there is no such builder; names the closest one.
    """
    if name not in _builders:
        _import_provider()
    if name not in _builders:
        raise ValueError(f"network builder {must_be_one_of(name, sorted(_builders))}")
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
