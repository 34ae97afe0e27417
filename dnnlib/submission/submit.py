"""Submitting: call a function in a run directory of its own, with StyleGAN2's interface.

    submit_config = dnnlib.SubmitConfig()
    submit_config.run_desc = "generate"
    dnnlib.submit_run(submit_config, "my_script.generate_images", seeds=[1, 2, 3])

makes ``results/00000-generate`` with the sources (``src``), the call (``submit_config.txt`` and
``.pkl``), what is needed to make it again (``run.json``) and all that the run prints (``log.txt``),
calls ``generate_images(seeds=[1, 2, 3])`` and leaves ``_finished.txt`` at its end. Our own
``run_network.py`` writes its run directories with the same functions (:func:`describe_run`,
:mod:`dnnlib.submission.run_dir`).
"""

from __future__ import annotations

import copy
import pathlib
import pickle
import platform
import pprint
import re
import shutil
import sys
from enum import Enum
from typing import Any

from dnnlib import objects, util
from dnnlib.errors import UserError
from dnnlib.submission.describe import describe_run
from dnnlib.submission.execute import make_run_dir_path, run_wrapper  # noqa: F401 - StyleGAN2's names
from dnnlib.submission.internal import detached, local, slurm
from dnnlib.submission.names import (  # noqa: F401 - StyleGAN2's names
    PathType,
    convert_path,
    get_path_from_template,
    get_template_from_path,
    get_user_name,
    set_user_name_override,
)
from dnnlib.submission.run_dir import create_numbered

# What may be a source file; data, pictures and snapshots are not copied.
SOURCE_SUFFIXES = (".py", ".cc", ".cu", ".h", ".sh", ".toml", ".txt", ".md", ".html", ".css", ".js")
_SKIPPED_FOLDERS = ("__pycache__", "results", "datasets", "images", "node_modules", "tests", "docs")


class SubmitTarget(Enum):
    """Where the function is executed.

    LOCAL: in this process.
    DETACHED: in a process of its own, which survives the terminal.
    SLURM: as a job of a cluster.
    """

    LOCAL = 1
    DETACHED = 2
    SLURM = 3


TARGETS = {
    SubmitTarget.LOCAL: local.Target,
    SubmitTarget.DETACHED: detached.Target,
    SubmitTarget.SLURM: slurm.Target,
}


class PlatformExtras:
    """Facts about the process that executes the run.

    Attributes:
      data_reader_buffer_size: bytes that a reader of data files should take at once.
      data_reader_process_count: worker processes that it may start; 0 for none.
    """

    def __init__(self) -> None:
        self.data_reader_buffer_size = 1 << 30
        self.data_reader_process_count = 0


class SubmitConfig(util.EasyDict):
    """How a function is to be run. The first group is for the caller, the second is filled in.

    Attributes:
      run_dir_root: folder of all runs; may hold ``<USERNAME>``, and forward slashes everywhere.
      run_desc: end of the run directory's name.
      run_dir_ignore: patterns of files and folders that are not copied to ``src``.
      run_dir_extra_files: list of (source, destination in the run directory) to be copied.
      submit_target: SubmitTarget.
      num_gpus: number of GPUs, for the run function's use.
      print_info: print this configuration first.
      local: options of all targets, dnnlib.submission.internal.local.TargetOptions.
      slurm: options of the target SLURM, dnnlib.submission.internal.slurm.TargetOptions.

      run_id: number of the run.
      run_name: name of the run directory.
      run_dir: its path.
      run_func_name: "package.module.function".
      run_func_kwargs: its keyword arguments.
      user_name, host_name: who submitted the run, and where.
      task_name: user name and run name, for lists of processes.
      platform_extras: PlatformExtras.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run_dir_root = "results"
        self.run_desc = ""
        self.run_dir_ignore = ["__pycache__", "*.pyc", "*.pyproj", "*.sln", ".*", "_cudacache"]
        self.run_dir_extra_files = []
        self.submit_target = SubmitTarget.LOCAL
        self.num_gpus = 1
        self.print_info = False
        self.local = local.TargetOptions()
        self.slurm = slurm.TargetOptions()

        self.run_id = None
        self.run_name = None
        self.run_dir = None
        self.run_func_name = None
        self.run_func_kwargs = None
        self.user_name = None
        self.host_name = "localhost"
        self.task_name = None
        self.platform_extras = PlatformExtras()


def _copy_sources(config: SubmitConfig, folder: pathlib.Path) -> None:
    """Copy the run function's package and dnnlib to ``src``, and the extra files beside it."""
    module = objects.get_module_from_obj_name(config.run_func_name)[0]
    top = module.__name__.split(".")[0]
    file = pathlib.Path(getattr(sys.modules.get(top, module), "__file__", None) or module.__file__)
    root = file.parent if file.name != "__init__.py" else file.parent.parent
    dnnlib_root = pathlib.Path(util.__file__).resolve().parent.parent
    # A script at the top of a folder may import anything that lies beside it.
    sources = [root if file.name != "__init__.py" else root / top]
    if dnnlib_root not in (root.resolve(), *root.resolve().parents):
        sources.append(dnnlib_root / "dnnlib")
    elif file.name == "__init__.py" and top != "dnnlib":
        sources.append(root / "dnnlib")
    ignores = [*config.run_dir_ignore, *_SKIPPED_FOLDERS]
    for source in sources:
        base = root if source == root else source.parent
        for path in objects.list_dir_recursively_with_ignore(str(source), ignores):
            if path[0].endswith(SOURCE_SUFFIXES):
                target = folder / "src" / pathlib.Path(path[0]).relative_to(base)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path[0], str(target))


# Submitting


def submit_run(submit_config: SubmitConfig, run_func_name: Any, **run_func_kwargs: Any) -> Any:
    """Call a function in a new run directory.

    Args:
      submit_config: SubmitConfig; is not changed. With ``run_dir`` set to an existing folder the
        run is continued there instead.
      run_func_name: "package.module.function", or a function at the top level of a module.
      **run_func_kwargs: keyword arguments of the function; a parameter ``submit_config`` gets the
        configuration of the run.

    Returns:
      LOCAL: what the function returns; DETACHED: the process id; SLURM: the job's number.

    Raises:
      UserError: the folder cannot be made; ``run_dir`` does not exist; there is no Slurm.
    """
    config = copy.deepcopy(submit_config)
    if not isinstance(run_func_name, str):
        run_func_name = objects.get_top_level_function_name(run_func_name)
    objects.get_obj_by_name(run_func_name)  # fails before there is a folder
    if config.submit_target is SubmitTarget.SLURM:
        slurm.check()
    config.user_name = get_user_name()
    config.host_name = platform.node() or "localhost"
    config.run_func_name, config.run_func_kwargs = run_func_name, run_func_kwargs
    if config.run_dir is None:
        root = get_path_from_template(config.run_dir_root)
        folder = create_numbered(root, r"(\d{5,})-.*", _spell_name(config.run_desc))
    else:
        folder = pathlib.Path(config.run_dir)
        if not folder.is_dir():
            raise UserError(f"run_dir={folder}: no such folder; leave it out to begin a new run")
    number = re.match(r"\d+", folder.name)
    config.run_id = int(number.group()) if number else None
    config.run_name = folder.name
    config.task_name = f"{config.user_name}-{folder.name}"
    target = TARGETS[config.submit_target]()
    target.finalize_submit_config(config, str(folder))
    _write(config, folder)
    if config.print_info:
        sys.stdout.write(_as_text(config) + "\n")
    return target.submit(config, str(folder))


def _spell_name(run_desc: str):
    """Function number => name of a run directory."""
    if not re.fullmatch(r"[A-Za-z0-9_.,=+@ \-]*", run_desc):
        raise UserError(
            f"run_desc={run_desc!r} must be able to end a folder's name; use letters, digits and "
            "'_', '-', '.'"
        )
    return lambda number: f"{number:05d}-{run_desc}" if run_desc else f"{number:05d}"


def _as_text(config: SubmitConfig) -> str:
    values = {k: vars(v) if hasattr(v, "__dict__") and not isinstance(v, (dict, Enum)) else v
              for k, v in config.items()}  # fmt: skip
    return pprint.pformat(values, indent=4, width=100)


def _write(config: SubmitConfig, folder: pathlib.Path) -> None:
    """What a run directory holds before the run begins."""
    with util.atomic_write(folder / "submit_config.txt", "w") as file:
        file.write(_as_text(config) + "\n")
    with util.atomic_write(folder / "submit_config.pkl") as file:
        pickle.dump(config, file)
    describe_run(folder)
    if not config.local.do_not_copy_source_files:
        _copy_sources(config, folder)
    for source, destination in config.run_dir_extra_files:
        objects.copy_files_and_create_dirs([(source, str(folder / destination))])
