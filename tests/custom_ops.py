"""One form of the custom operations for a test, wherever this machine has it."""

import contextlib

import pytest

from dnnlib.errors import UserError
from dnnlib.tflib import native


@contextlib.contextmanager
def chosen(choice):
    """Within this context the choice holds; a test is skipped where it cannot."""
    native.set_custom_ops(choice)
    try:
        native.library()
    except UserError as error:
        pytest.skip(str(error))
    else:
        yield choice
    finally:
        native.set_custom_ops("auto")
