"""Networks of other code bases become ours here, at the border: importing this registers how."""

from training.foreign.ada import import_ada

__all__ = ["import_ada"]
