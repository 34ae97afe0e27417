"""Run run_network.py and be killed on the way: python train_child.py KIND:NIMG flags...

KIND: "step" (within an iteration: G is updated, D is not), "save" (while writing a checkpoint), or
"never".
"""

import os
import pathlib
import signal
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import numpy as np

import run_network
from dnnlib.cli import run_script


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_step(nimg):
    from training.graph import TrainingGraph  # noqa: PLC0415 - after the quick checks

    original = TrainingGraph.run_phase

    def run_phase(self, phase, at, images, labels, following=None):
        if (phase.name, at) == ("D", nimg):
            threading.Timer(0.001, die).start()
            while True:  # the timer hits one of these
                original(self, phase, at, images, labels)
        return original(self, phase, at, images, labels, following)

    TrainingGraph.run_phase = run_phase


def die_in_save(nimg):
    original = np.savez

    def savez(file, meta, **arrays):
        if f'"nimg": {nimg},' in str(meta):
            original(file, meta=meta)  # a part of it
            file.flush()
            die()
        original(file, meta=meta, **arrays)

    np.savez = savez


kind, _, place = sys.argv[1].partition(":")
if kind != "never":
    {"step": die_in_step, "save": die_in_save}[kind](int(place))
sys.exit(run_script(run_network.main, sys.argv[2:]))
