"""Published networks by name, with StyleGAN2's interface; over :mod:`dnnlib.fetch`."""

from dnnlib import fetch, tflib

_cached_networks = {}  # name => what load_networks returned


def get_path_or_url(path_or_gdrive_path):
    """The path or URL that a name stands for.

    Args:
      path_or_gdrive_path: path, URL, ``gdrive:`` name, or short name of a published snapshot.

    Raises:
      UserError: there is no published file of that name.
    """
    return fetch.to_url(path_or_gdrive_path)


def load_networks(path_or_gdrive_path):
    """Load (G, D, Gs), once for each name; nothing inside the file is executed.

    Args:
      path_or_gdrive_path: as for :func:`get_path_or_url`.

    Returns:
      Tuple of :class:`dnnlib.tflib.Network`.

    Raises:
      UserError: the file is missing, damaged, or not a snapshot.
    """
    if path_or_gdrive_path not in _cached_networks:
        tflib.init_tf()
        _cached_networks[path_or_gdrive_path] = tflib.load_networks(path_or_gdrive_path)
    return _cached_networks[path_or_gdrive_path]
