"""Paths of several platforms, and the name of the user."""

from __future__ import annotations

import getpass
import os
from enum import Enum

_user_name_override: str | None = None


class PathType(Enum):
    """How paths are written: WINDOWS, LINUX, or AUTO for that of this machine."""

    WINDOWS = 1
    LINUX = 2
    AUTO = 3


def get_path_from_template(path_template: str, path_type: PathType = PathType.AUTO) -> str:
    """A path in the form of a platform, with ``<USERNAME>`` replaced."""
    path = path_template.replace("<USERNAME>", get_user_name())
    if path_type is PathType.AUTO:
        path_type = PathType.WINDOWS if os.name == "nt" else PathType.LINUX
    if path_type is PathType.WINDOWS:
        return path.replace("/", "\\")
    return path.replace("\\", "/")


def get_template_from_path(path: str) -> str:
    """A path with forward slashes, as templates are written."""
    return path.replace("\\", "/")


def convert_path(path: str, path_type: PathType = PathType.AUTO) -> str:
    """A path of any platform in the form of one platform."""
    return get_path_from_template(get_template_from_path(path), path_type)


def set_user_name_override(name: str | None) -> None:
    """Let :func:`get_user_name` answer ``name``; None ends that."""
    global _user_name_override  # noqa: PLW0603 - of the process
    _user_name_override = name


def get_user_name() -> str:
    """Name of the user, or "unknown" where the system does not tell."""
    if _user_name_override is not None:
        return _user_name_override
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without that user
        return "unknown"
