"""Run a study of studies.py: settings times seeds, trained, judged, laid side by side.

    python bench/study.py preset                 run what is missing, judge, write table and sheet
    python bench/study.py preset --report        only look at what is there
    python bench/study.py --document             write docs/studies of all results
    python bench/study.py --list

A study's folder holds study.json (what is compared), runs/ (run directories, finished ones are not
run again), logs/, results.json, table.md and sheet.png. Stopping is safe at any time: the same
command continues, training and all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import study_report
from studies import STUDIES

from dnnlib import cli
from dnnlib.errors import UserError, must_be_one_of
from dnnlib.submission.run_dir import latest_run
from dnnlib.util import atomic_write, format_time, log

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = "--tick 1 --snapshot-ticks 12 --summarize false"
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")


def build_parser():
    """The command line."""
    parser = cli.Parser(description=__doc__.splitlines()[0], allow_abbrev=False)
    add = parser.add_argument
    add("study", nargs="?", metavar="STUDY", help="name of a study; see --list")
    add("--folder", default="results/studies", help="where studies live (default: %(default)s)")
    add("--data-dir", help="where datasets live (default: in FOLDER/datasets)")
    add("--settings", metavar="A,B", help="only these settings of the study")
    add("--seeds", type=cli.positive_int, help="number of seeds (default: the study's)")
    add(
        "--kimg",
        type=cli.positive_float,
        help="thousands of images of a run (default: the study's)",
    )
    add("--jobs", type=cli.positive_int, help="runs at once, of one thread each (default: cores)")
    add("--gpus", default="none", metavar="LIST", help="GPUs for the runs (default: none)")
    add("--report", action="store_true", help="run nothing, only write table and sheet")
    add("--document", action="store_true", help="write docs/studies of all results")
    add("--list", action="store_true", help="list the studies")
    return parser


class Runner:
    """Runs, judges and reports one study.

    Args:
      name: of the study.
      study: studies.Study.
      folder: of all studies.
      data_dir: of the datasets.
      settings: names of those to run.
      seeds: number of seeds.
      gpus: see run_network.py.
      commands: folder of run_network.py and prepare_data.py.
    """

    def __init__(self, name, study, folder, data_dir, settings, seeds, gpus="none", commands=ROOT):
        self.name, self.study, self.settings, self.seeds = name, study, settings, seeds
        self.folder, self._data_dir = Path(folder) / name, Path(data_dir)
        self._gpus, self._commands, self._stopping = gpus, Path(commands), threading.Event()

    def check_folder(self):
        """Note what is compared; refuse a folder whose runs were made by other flags."""
        path = self.folder / "study.json"
        now = {"base": self.study.base, "settings": self.study.settings}
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            shared = set(before["settings"]) & set(now["settings"])
            changed = [s for s in sorted(shared) if before["settings"][s] != now["settings"][s]]
            if before["base"] != now["base"] or changed:
                what = f"settings {', '.join(changed)}" if changed else "flags of all runs"
                raise UserError(
                    f"{path}: the study was begun with other {what}; give another --folder, or "
                    "remove this one"
                )
            now["settings"] = {**before["settings"], **now["settings"]}
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "w") as file:
            file.write(json.dumps(now, indent=2) + "\n")

    def run_all(self, jobs):
        """Prepare the data, then train and judge what is not finished.

        Returns:
          Names of the runs that failed.
        """
        self.check_folder()
        if self.study.prepare and self._call("prepare", "prepare_data.py", self._prepare_flags()):
            raise UserError(f"the data could not be prepared; see {self._log_path('prepare')}")
        work = [(s, seed) for seed in range(self.seeds) for s in self.settings]
        log(f"{self.name}: {len(work)} runs, {jobs} at once")
        with ThreadPoolExecutor(jobs) as pool:
            done = [pool.submit(self._run, *item) for item in work]
            try:
                return [future.result() for future in done if future.result()]
            except KeyboardInterrupt:  # the runs got it too, and stop with a checkpoint
                self._stopping.set()
                log("Stopping; the same command continues")
                raise

    def _run(self, setting, seed):
        """Train and judge one run; returns its name if that failed."""
        run, started = f"{setting}-s{seed}", time.time()
        if self._stopping.is_set():
            return None
        if study_report.is_judged(self._run_dir(run), self.study):
            return None
        is_trained = self._train(run, setting, seed)
        if not is_trained or not self._judge(run):
            if self._stopping.is_set():
                return None
            what = "judging" if is_trained else "training"
            log(f"{run}: {what} failed; see {self._log_path(run)}")
            return run
        figures = study_report.read_figures(self._run_dir(run), self.study)
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        log(f"{run}  time {format_time(time.time() - started)}  {text}")
        return None

    def _train(self, run, setting, seed):
        """Do what is missing of a run's trainings; returns whether all are finished."""
        flags = f"{self.study.base} {self.study.settings[setting]} --seed {seed}".split()
        if self.study.first:
            before = f"first-{run}"
            if not self._train_one(run, before, flags + self.study.first.split()):
                return False
            snapshot = self._run_dir(before) / "network-final.pkl"
            flags += ["--pretrained-pkl", str(snapshot)]
        return self._train_one(run, run, flags)

    def _train_one(self, run, name, flags):
        """Train ``name``, with the log of ``run``, if that was not done; returns whether it is."""
        if not study_report.is_finished(self._run_dir(name)):
            flags = last_of_each([*f"--train {OUTPUT}".split(), *flags])
            self._call(run, "run_network.py", [*flags, *self._shared_flags(name)])
        return study_report.is_finished(self._run_dir(name))

    def _judge(self, run):
        """Measure a run; returns whether that succeeded."""
        what = f"--eval --metrics {self.study.metrics} --features efficientnet"
        num = f"--eval-images-num {self.study.images_num}"
        flags = [*f"{what} {num}".split(), *self._shared_flags(run)]
        return self._call(run, "run_network.py", flags) == 0 and not self._stopping.is_set()

    def _run_dir(self, run):
        return latest_run(str(self.folder / "runs"), run)

    def _log_path(self, name):
        return self.folder / "logs" / f"{name}.txt"

    def _prepare_flags(self):
        return [*self.study.prepare.split(), "--data-dir", str(self._data_dir)]

    def _shared_flags(self, run):
        runs = ["--result-dir", str(self.folder / "runs"), "--expname", run]
        return [*runs, "--data-dir", str(self._data_dir), "--gpus", self._gpus]

    def _call(self, name, script, flags):
        """Run a script; its output is added to a log. Returns its exit status."""
        path = self._log_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        env = dict(os.environ, **dict.fromkeys(THREADS, "1"), TF_CPP_MIN_LOG_LEVEL="2")
        command = [sys.executable, str(self._commands / script), *flags]
        with path.open("a", encoding="utf-8") as file:
            file.write(f"$ {' '.join(command)}\n")
            file.flush()
            return subprocess.run(
                command, env=env, stdout=file, stderr=file, check=False
            ).returncode

    def report(self):
        """Write results.json, table.md and sheet.png; show the table."""
        results = study_report.collect(self.name, self.study, self.folder)
        study_report.write(self.folder, results)
        for line in study_report.table(results):
            print(line)
        log(f"Table, sheet and JSON are in {self.folder}")


def last_of_each(words):
    """Flags of which some are given twice => the later ones: a setting beats the base.

    Args:
      words: list such as ["--train", "--batch-size", "8", "--batch-size", "16"].
    """
    flags = {}
    for word in words:
        if word.startswith("--"):
            flags.pop(word, None)
            values = flags[word] = []
        else:
            values.append(word)
    return [word for flag, values in flags.items() for word in (flag, *values)]


def choose(args):
    """The study and its settings that the command line names."""
    if args.study not in STUDIES:
        raise UserError(f"STUDY {must_be_one_of(args.study, STUDIES)}")
    study = STUDIES[args.study]
    if args.kimg is not None:
        study = dataclasses.replace(study, base=f"{study.base} --total-kimg {args.kimg:g}")
    settings = args.settings.split(",") if args.settings else list(study.settings)
    for setting in settings:
        if setting not in study.settings:
            raise UserError(f"--settings {must_be_one_of(setting, study.settings)}")
    return study, settings


def main(argv=None):
    """Do what the command line says; exit status 1 if a run failed."""
    args = build_parser().parse_args(argv)
    if args.list:
        for name, study in STUDIES.items():
            print(f"{name:16} {study.question} ({', '.join(study.settings)}; {study.seeds} seeds)")
        return 0
    failed = []
    if args.study is not None:
        study, settings = choose(args)
        # Studies share a set if they prepare it alike.
        kind = "-".join(re.findall(r"\w+", study.prepare)) or "prepared"
        data_dir = args.data_dir or Path(args.folder, "datasets", kind)
        seeds = args.seeds or study.seeds
        runner = Runner(args.study, study, args.folder, data_dir, settings, seeds, args.gpus)
        if not args.report:
            failed = runner.run_all(args.jobs or os.cpu_count() or 1)
        runner.report()
    elif not args.document:
        raise UserError(f"name a study: {', '.join(STUDIES)}; or see --help")
    if args.document:
        study_report.document(args.folder, ROOT / "docs")
    if failed:
        log(f"{len(failed)} runs failed: {', '.join(failed)}; the same command tries them again")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(cli.run_script(main))
