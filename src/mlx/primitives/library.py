"""The library family: routines of LAPACK and FFT; leading axes are batches.

Where there is no kernel for what a member does, its ``host(workers, out, *arrays)`` writes the
result into one NumPy array from others, on so many threads.
"""

from __future__ import annotations

from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy as np
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, picks

Types = tuple[tuple[Shape, Dtype], ...]


class Library(Primitive):
    """A native routine, or a host call between native segments."""

    family = "library"

    def host(self, workers: int, out: np.ndarray, *arrays: np.ndarray) -> None:
        raise TypeError(f"[{self.name}] declares no host call.")

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)


def outputs(primitive: Library, *inputs: Node) -> list[Node]:
    """The outputs of a library call as nodes."""
    return picks(primitive(*inputs))
