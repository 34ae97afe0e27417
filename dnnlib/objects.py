"""Objects by name, and lists of files: StyleGAN2's helpers; ``dnnlib.util`` has them too."""

from __future__ import annotations

import ctypes
import fnmatch
import importlib
import inspect
import math
import os
import pathlib
import pickle
import shutil
import sys
from types import ModuleType
from typing import Any, Iterable, Sequence

import numpy as np


def get_module_from_obj_name(name: str) -> tuple[ModuleType, str]:
    """The module in which "a.b.C.d" lies, and the rest of the name: (module a.b, "C.d").

    Raises:
      ImportError: no module of that name can be imported, or it has no such object.
    """
    parts = name.split(".")
    for num in range(len(parts), 0, -1):
        module_name, rest = ".".join(parts[:num]), ".".join(parts[num:])
        try:
            module = importlib.import_module(module_name)
        except ImportError as error:
            # Only "there is no such module" leads on; an error inside of one is the caller's.
            if error.name is None or not (module_name + ".").startswith(error.name + "."):
                raise
            continue
        get_obj_from_module(module, rest)
        return module, rest
    raise ImportError(f"{name}: no module of that name can be imported", name=name)


def get_obj_from_module(module: ModuleType, obj_name: str) -> Any:
    """``module.A.b`` for "A.b"; the module itself for "".

    Raises:
      ImportError: there is no such object.
    """
    obj = module
    for part in filter(None, obj_name.split(".")):
        try:
            obj = getattr(obj, part)
        except AttributeError:
            raise ImportError(f"{module.__name__} has no {obj_name!r}", name=obj_name) from None
    return obj


def get_obj_by_name(name: str) -> Any:
    """The object called "package.module.object"."""
    module, rest = get_module_from_obj_name(name)
    return get_obj_from_module(module, rest)


def call_func_by_name(*args: Any, func_name: str, **kwargs: Any) -> Any:
    """Call the function called "package.module.function"."""
    function = get_obj_by_name(func_name)
    if not callable(function):
        raise TypeError(f"{func_name} is not a function")
    return function(*args, **kwargs)


def get_module_dir_by_obj_name(obj_name: str) -> str:
    """Folder of the file in which an object is defined."""
    module, _ = get_module_from_obj_name(obj_name)
    return str(pathlib.Path(inspect.getfile(module)).parent)


def is_top_level_function(obj: Any) -> bool:
    """Whether an object is a function at the top level of a module."""
    return (
        inspect.isfunction(obj)
        and getattr(sys.modules.get(obj.__module__), obj.__name__, None) is obj
    )


def get_top_level_function_name(obj: Any) -> str:
    """Name of such a function, "module.function"; a running script goes by its file's name.

    Raises:
      TypeError: it is not one.
    """
    if not is_top_level_function(obj):
        raise TypeError(f"{obj!r} is not a function at the top level of a module")
    module = obj.__module__
    if module == "__main__":
        module = pathlib.Path(sys.modules[module].__file__).stem
    return f"{module}.{obj.__name__}"


def is_pickleable(obj: Any) -> bool:
    """Whether an object can be pickled."""
    try:
        pickle.dumps(obj)
    except (pickle.PicklingError, TypeError, AttributeError, NotImplementedError):
        return False
    return True


def tuple_product(t: Iterable[int]) -> int:
    """Product of numbers; 1 for none."""
    return int(math.prod(t)) if hasattr(math, "prod") else int(np.prod(list(t), dtype=np.int64))


def get_dtype_and_ctype(type_obj: Any) -> tuple[np.dtype, Any]:
    """NumPy's and ctypes' type for a type, or its name, of a number: ("float32", c_float)."""
    dtype = np.dtype(getattr(type_obj, "__name__", type_obj))
    return dtype, np.ctypeslib.as_ctypes_type(dtype) if dtype != np.dtype(bool) else ctypes.c_bool


def list_dir_recursively_with_ignore(
    dir_path: str, ignores: Sequence[str] | None = None, add_base_to_relative: bool = False
) -> list[tuple[str, str]]:
    """All files below a folder.

    Args:
      dir_path: the folder.
      ignores: patterns of names, of files and folders, to be left out.
      add_base_to_relative: relative paths begin with the folder's own name.

    Returns:
      List of (absolute path, relative path), sorted.
    """

    def kept(names):
        return [n for n in sorted(names) if not any(fnmatch.fnmatch(n, p) for p in ignores or ())]

    found = []
    base = os.path.abspath(dir_path)
    start = os.path.dirname(base) if add_base_to_relative else base
    for folder, folders, files in os.walk(base):
        folders[:] = kept(folders)
        for name in kept(files):
            path = os.path.join(folder, name)
            found.append((path, os.path.relpath(path, start)))
    return found


def copy_files_and_create_dirs(files: Iterable[tuple[str, str]]) -> None:
    """Copy files, [(source, destination)], and make the folders that they go to."""
    for source, destination in files:
        os.makedirs(os.path.dirname(os.path.abspath(destination)), exist_ok=True)
        shutil.copyfile(source, destination)
