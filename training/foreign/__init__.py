"""Networks of other code bases become ours here, at the border: importing this registers how."""

from training.foreign.ada import import_ada
from training.foreign.ada_torch import import_ada_torch
from training.foreign.gansformer_torch import import_gansformer_torch

__all__ = ["import_ada", "import_ada_torch", "import_gansformer_torch"]
