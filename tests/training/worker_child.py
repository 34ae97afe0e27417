"""Run run_network.py and write the state that its training ends with: worker_child.py FILE flags...

The file gets what a checkpoint would hold, of this worker.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

import numpy as np

import run_network
from dnnlib import tflib
from dnnlib.cli import run_script
from training.graph import TrainingGraph

graphs, build = [], TrainingGraph.__init__


def build_and_keep(self, *args, **kwargs):
    build(self, *args, **kwargs)
    graphs.append(self)


TrainingGraph.__init__ = build_and_keep
status = run_script(run_network.main, sys.argv[2:])
if status == 0:
    np.savez(sys.argv[1], **tflib.run(graphs[0].state_vars()))
sys.exit(status)
