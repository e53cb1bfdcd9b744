"""The library family: host calls of LAPACK and FFT routines through SciPy.

A member's ``host(*arrays)`` gets NumPy arrays and returns one for each output; leading axes
are batches, so that batching needs no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from mlx.base.dtype import Dtype
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, picks

Types = tuple[tuple[Shape, Dtype], ...]


class Library(Primitive):
    """A host call between native segments."""

    family = "library"
    is_threaded: ClassVar[bool] = False
    """Whether the host call takes SciPy's number of workers."""

    def host(self, *arrays: np.ndarray) -> Any:
        raise TypeError(f"[{self.name}] declares no host call.")

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)


def outputs(primitive: Library, *inputs: Node) -> list[Node]:
    """The outputs of a library call as nodes."""
    return picks(primitive(*inputs))


def each_matrix(
    call: Callable[..., Any],
    types: Types,
    arrays: Sequence[np.ndarray],
) -> tuple[np.ndarray, ...]:
    """Apply a function of matrices to every matrix of batches; ``types`` are the results'.

    Where the first matrix has an infinity or NaN, all results are NaN:
    LAPACK makes of those whatever it likes, numbers and endless loops included.
    """
    lead = arrays[0].shape[:-2]
    known = np.isfinite(arrays[0]).all(axis=(-2, -1))
    found = []
    for at in np.ndindex(*lead):
        if known[at]:
            found.append(call(*(a[at] for a in arrays)))
        else:
            found.append([_unknown(shape[len(lead) :], dtype) for shape, dtype in types])
    if not found:
        return tuple(np.empty(shape, dtype.numpy) for shape, dtype in types)
    parts = zip(*found, strict=True)
    return tuple(np.reshape(np.stack(p), t[0]) for p, t in zip(parts, types, strict=True))


def _unknown(shape: Shape, dtype: Dtype) -> np.ndarray:
    """NaN; of integers, which are row numbers, those of rows that stay."""
    if dtype.is_inexact:
        return np.full(shape, np.nan, dtype.numpy)
    return np.arange(shape[-1], dtype=dtype.numpy)
