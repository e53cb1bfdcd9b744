"""The library family: host calls of LAPACK and FFT routines through SciPy.

A member's ``host(workers, *arrays)`` gets a number of threads and NumPy arrays and returns one for
each output; leading axes are batches, so that batching needs no rule.
"""

from __future__ import annotations

from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy as np
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, picks

Types = tuple[tuple[Shape, Dtype], ...]


class Library(Primitive):
    """A host call between native segments."""

    family = "library"

    def host(self, workers: int, *arrays: np.ndarray) -> Any:
        raise TypeError(f"[{self.name}] declares no host call.")

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)


def outputs(primitive: Library, *inputs: Node) -> list[Node]:
    """The outputs of a library call as nodes."""
    return picks(primitive(*inputs))
