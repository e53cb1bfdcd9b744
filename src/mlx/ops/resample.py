"""Resampling of positions: interpolation and sums over windows.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.ops.operands import array_node
from mlx.primitives.resample import Resample, table


def resample(
    x: array,
    axes: Sequence[tuple[str, int, float, float, float]],
    scale: float = 1.0,
    *,
    stream: Any = None,
) -> array:
    """Resample the positions of ``(N, positions..., C)`` and multiply by ``scale``.

    An axis is (kind, positions after, step, origin, width): position i lies at
    ``i * step + origin`` elements. "linear" and "cubic" weigh elements by their distance over
    ``width`` and repeat those at the ends, "linear_within" and "cubic_within" leave out what
    lies outside and divide by the sum; "window" adds ``width`` elements from there on, "nearest"
    picks one (its step and origin follow from the sizes).

    Raises ValueError for another kind, number of axes or a dtype that is not floating-point.

    >>> x = mx.array([[[0.0], [4.0]]])
    >>> mx.fast.resample(x, [("linear", 3, 0.5, 0.0, 1.0)]).flatten().tolist()
    [0.0, 2.0, 4.0]
    """
    node = array_node("resample", x)
    if not node.dtype.is_float or node.ndim != len(axes) + 2:
        raise ValueError(
            f"[resample] Expected floats (N, positions..., C) with {len(axes)} axes of positions, "
            f"got {node.dtype.name} {node.shape}."
        )
    full = tuple(
        (kind, size, target, float(step), float(origin), float(width), False)
        for (kind, target, step, origin, width), size in zip(axes, node.shape[1:-1], strict=True)
    )
    for axis in full:
        table(axis)
    return wrap(Resample(full, float(scale))(node))
