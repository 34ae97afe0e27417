"""Errors that are shown to people, and the hints in them."""

from __future__ import annotations

import difflib
from typing import Iterable


class UserError(Exception):
    """The user asked for something impossible.

    Scripts print it as one line, without a traceback, and exit with status 2. The message names the
    flag or file, what was found, the rule, and the way out.
    """


class OptionError(UserError, ValueError):
    """Options of a network, from flags as a rule, that no network can have."""


def closest(name: str, names: Iterable[str]) -> str:
    """Hint at the known name that a mistyped one probably meant.

    Args:
      name: what was given.
      names: what is known.

    Returns:
      ``"did you mean 'hinge'?"``, or ``""`` if nothing comes close.
    """
    close = difflib.get_close_matches(str(name), [str(known) for known in names], n=1)
    return f"did you mean {close[0]!r}?" if close else ""


def must_be_one_of(name: object, names: Iterable[object]) -> str:
    """The rest of a message about a name that is not known; begin it with what is named.

    Args:
      name: what was given.
      names: what is known.

    Returns:
      ``"must be one of add, mul, both, got 'mull'; did you mean 'mul'?"``.
    """
    known = [str(known) for known in names]
    hint = closest(str(name), known)
    return f"must be one of {', '.join(known)}, got {name!r}" + (f"; {hint}" if hint else "")
