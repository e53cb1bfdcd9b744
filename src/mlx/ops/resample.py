"""Resampling of positions: interpolation and sums over windows.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.graph.node import Node
from mlx.ops.operands import array_node, sequence
from mlx.primitives.resample import Axis, Resample, table
from mlx.primitives.windows import WindowMax

Window = tuple[str, int, float, float, float]


def resample(
    x: array,
    axes: Sequence[Window],
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
    node, full = _checked("resample", x, axes)
    return wrap(Resample(full, float(scale))(node))


def resample_max(x: array, axes: Sequence[Window], *, stream: Any = None) -> array:
    """The largest element of each window of positions of ``(N, positions..., C)``; NaN wins.

    Axes are as for :func:`resample`, all of kind "window". Equal elements share the derivative.

    Raises ValueError for other kinds, another number of axes or a dtype that is not floating-point.

    >>> x = mx.array([[[0.0], [4.0], [1.0]]])
    >>> mx.fast.resample_max(x, [("window", 2, 1, 0, 2)]).flatten().tolist()
    [4.0, 4.0]
    """
    node, full = _checked("resample_max", x, axes)
    return wrap(WindowMax(full)(node))


def _checked(name: str, x: array, axes: Sequence[Window]) -> tuple[Node, tuple[Axis, ...]]:
    node, axes = array_node(name, x), sequence(name, "axes", axes)
    if not node.dtype.is_float or not axes or node.ndim != len(axes) + 2:
        raise ValueError(
            f"[{name}] Expected floats (N, positions..., C) with {len(axes)} axes of positions, "
            f"got {node.dtype.name} {node.shape}."
        )
    try:
        full = tuple(
            (kind, size, int(target), float(step), float(origin), float(width), False)
            for (kind, target, step, origin, width), size in zip(
                axes, node.shape[1:-1], strict=True
            )
        )
    except (TypeError, ValueError):
        raise ValueError(
            f"[{name}] An axis is (kind, positions after, step, origin, width), got {axes}."
        ) from None
    for axis in full:
        table(axis)
    return node, full
