"""The Hadamard transform.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.lazy import numpy as np
from mlx.graph.node import Node
from mlx.ops.operands import array_node
from mlx.ops.products import product
from mlx.primitives.elementwise import cast
from mlx.primitives.hadamard import Hadamard
from mlx.primitives.views import Transpose, reshape

LONGEST = 1 << 14
"""Elements that are transformed at once: the second-level cache holds them."""

# Of circulant blocks the first rows; each further row is the one above it turned right by one.
_BLOCKS = {
    12: (
        "+ - + + + + + + + + + +",
        "- - + - + - + - + - + -",
        "+ + + - + + - - - - + +",
        "+ - - - + - - + - + + -",
        "+ + + + + - + + - - - -",
        "+ - + - - - + - - + - +",
        "+ + - - + + + - + + - -",
        "+ - - + + - - - + - - +",
        "+ + - - - - + + + - + +",
        "+ - - + - + + - - - + -",
        "+ + + + - - - - + + + -",
        "+ - + - - + - + + - - -",
    ),
    20: (
        "+---- +---- ++--+ +-++-",
        "-++++ +---- -+--+ ++--+",
        "--++- +-++- +---- -++++",
        "-+--+ --++- +---- +----",
    ),
    28: (
        "+------ ++----+ +-+--+- +--++--",
        "--++++- +------ -++--++ +-+--+-",
        "-+-++-+ +--++-- +------ --++++-",
        "-++--++ -+-++-+ ++----+ +------",
    ),
}


@cache
def _matrix(order: int) -> np.ndarray:
    """The Hadamard matrix of order 12, 20 or 28."""
    rows = []
    for line in _BLOCKS[order]:
        firsts = [[1.0 if c == "+" else -1.0 for c in block] for block in line.split()]
        for turn in range(len(firsts[0])):
            rows.append(np.concatenate([np.roll(first, turn) for first in firsts]))
    return np.array(rows, np.float32)


def hadamard_transform(a: array, /, scale: float | None = None, *, stream: Any = None) -> array:
    """The last axis times a Hadamard matrix and ``scale``, by default 1 / sqrt(n).

    Raises ValueError unless n is m 2^k with m one of 1, 12, 20 and 28.

    >>> mx.hadamard_transform(mx.array([1.0, 2.0, 3.0, 4.0]))
    array([5, -1, -2, 0], dtype=float32)
    """
    x = array_node("hadamard_transform", a)
    if not x.dtype.is_float:
        x = cast(x, dt.float32)
    if x.ndim == 0:
        return wrap(x)
    size = x.shape[-1]
    odd = size // (size & -size) if size else 0
    order = 1 if odd == 1 else 4 * odd
    if odd not in (1, 3, 5, 7) or size % order:
        raise ValueError(
            f"[hadamard_transform] Only sizes m 2^k with m in (1, 12, 20, 28), not {size}."
        )
    factor = 1 / math.sqrt(size) if scale is None else float(scale)
    if order == 1:
        return wrap(_powers_of_two(x, factor))
    step = size // order
    wide = cast(x, dt.float32) if x.dtype.size == 2 else x
    blocks = _powers_of_two(reshape(wide, (*x.shape[:-1], order, step)), factor)
    matrix = cast(array(_matrix(order))._node, wide.dtype)
    return wrap(cast(reshape(product(matrix, blocks), x.shape), x.dtype))


def _powers_of_two(x: Node, factor: float) -> Node:
    """The last axis transformed; a long one as two, of which the second lies across the first."""
    *lead, size = x.shape
    if size <= LONGEST:
        return Hadamard(factor)(x)
    wide = cast(x, dt.float32) if x.dtype.size == 2 else x
    rows = _powers_of_two(reshape(wide, (*lead, size // LONGEST, LONGEST)), 1.0)
    swap = Transpose((*range(len(lead)), len(lead) + 1, len(lead)))
    return cast(reshape(swap(_powers_of_two(swap(rows), factor)), x.shape), x.dtype)
