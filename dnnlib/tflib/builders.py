"""The functions that build networks, by name, and translations of other code's names.

A builder is a plain function that takes input tensors and options and returns output tensors. Its
positional parameters without a default are the network's inputs; all others are options.
"""

import importlib

from dnnlib.errors import must_be_one_of
from dnnlib.tflib.options import takes_options

# An application's own module on the search path, which registers its builders and translators when
# it is imported. dnnlib imports it by this name when it first needs them.
PROVIDER = "tflib_builders"

_builders = {}
_translators = []
_importers = []


def register_builder(name, options=None):
    """Decorator: make a function known as the builder ``name``.

    Args:
      name: what ``Network(func_name=...)`` and snapshots call it. It is part of the file format.
      options: dataclass of options, which the function gets as its parameter ``options``; callers
        give its fields as keywords. See :mod:`dnnlib.tflib.options`.
    """

    def register(func):
        func = func if options is None else takes_options(func, options)
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


def import_provider():
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
    import_provider()
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
    import_provider()
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


def known_builder(name):
    """Look up a builder; if the name is not known yet, the application may register it now.

    Returns:
      The registered function, or None.
    """
    if name not in _builders:
        import_provider()
    return _builders.get(name)


def find_builder(name):
    """Look up a builder, as :func:`known_builder`, that has to exist.

    Raises:
      ValueError: there is no such builder; names the closest one.
    """
    if known_builder(name) is None:
        raise ValueError(f"network builder {must_be_one_of(name, sorted(_builders))}")
    return _builders[name]
