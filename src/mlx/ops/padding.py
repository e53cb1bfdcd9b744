"""Arrays prolonged at their ends.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.array import array, wrap
from mlx.graph.chains import by_types
from mlx.graph.node import Node
from mlx.ops.joining import joined
from mlx.ops.operands import (
    Operand,
    array_node,
    fitted,
    integers,
    node_of,
    sequence,
)
from mlx.ops.shape import narrow
from mlx.primitives.base import full
from mlx.primitives.elementwise import cast
from mlx.primitives.views import Concatenate, Embed, Slice


def pad(
    a: array,
    pad_width: int | Sequence[Any],
    mode: str = "constant",
    constant_values: Operand = 0,
    *,
    stream: Any = None,
) -> array:
    """a with its axes prolonged at both ends.

    Args:
        a: the array.
        pad_width: one number, a pair (before, after), or one pair an axis.
        mode: ``constant``, ``edge`` (the last element) or ``reflect`` (without the
            edge), ``symmetric`` (with it).
        constant_values: what to fill with.

    >>> mx.pad(mx.array([1, 2, 3]), (1, 2))
    array([0, 1, 2, 3, 0, 0], dtype=int32)
    >>> mx.pad(mx.array([1, 2, 3]), (1, 0), mode="reflect")
    array([2, 1, 2, 3], dtype=int32)
    """
    x = array_node("pad", a)
    widths = _widths(pad_width, x.ndim)
    if mode == "constant":
        if type(constant_values) in (int, float) and constant_values == 0:
            return wrap(_embedded(x, tuple(widths)))
        return wrap(_pad_constant(x, widths, node_of("pad", constant_values)))
    extend = _EXTEND.get(mode)
    if extend is None:
        raise ValueError(f"[pad] Unknown mode {mode!r}: use constant, edge, reflect or symmetric.")
    for axis, (low, high) in enumerate(widths):
        if low or high:
            x = extend(x, axis, low, high)
    return wrap(x)


@by_types(1)
def _embedded(x: Node, widths: tuple[tuple[int, int], ...]) -> Node:
    """x among zeros."""
    return _pad_constant(x, widths, full((), x.dtype, 0))


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    if type(pad_width) is int and pad_width >= 0:
        return [(pad_width, pad_width)] * ndim
    if isinstance(pad_width, int):
        pad_width = [pad_width]
    entries = sequence("pad", "pad_width", pad_width)
    if all(isinstance(w, int) for w in entries):
        if len(entries) not in (1, 2):
            raise ValueError(f"[pad] Expected pairs (before, after), got {pad_width}.")
        pairs = [(entries[0], entries[-1])] * ndim
    else:
        pairs = [_pair(w) for w in entries]
        pairs = pairs * ndim if len(pairs) == 1 else pairs
    if len(pairs) != ndim:
        raise ValueError(f"[pad] Got {len(pairs)} pairs for an array with {ndim} dimensions.")
    for axis, pair in enumerate(pairs):
        if min(pair) < 0:
            raise ValueError(f"[pad] Invalid padding size {pair} for axis {axis}: negative.")
    return pairs


def _pair(width: Any) -> tuple[int, int]:
    both = (width,) if isinstance(width, int) else integers("pad", "a width", width)
    if len(both) not in (1, 2):
        raise ValueError(f"[pad] Expected pairs (before, after), got {width}.")
    return both[0], both[-1]


def _pad_constant(x: Node, widths: Sequence[tuple[int, int]], value: Node) -> Node:
    starts = tuple(low for low, _ in widths)
    shape = tuple(low + n + high for n, (low, high) in zip(x.shape, widths, strict=True))
    if shape == x.shape:
        return x
    steps = (1,) * x.ndim
    inside = Embed(starts, steps, shape)(x)
    if getattr(value.primitive, "value", None) == 0:
        return inside
    for axis, (low, high) in enumerate(widths):
        edge = (*x.shape[:axis], 0, *x.shape[axis + 1 :])
        before, after = ((*edge[:axis], n, *edge[axis + 1 :]) for n in (low, high))
        parts = [fitted(cast(value, x.dtype), s, x.dtype) for s in (before, after)]
        x = Concatenate(axis)(parts[0], x, parts[1])
    return x


def _pad_edge(x: Node, axis: int, low: int, high: int) -> Node:
    size = x.shape[axis]
    if size == 0:
        raise ValueError(f"[pad] Cannot extend axis {axis} with size 0 by its edge.")

    def spread(at: int, count: int) -> Node:
        edge = narrow(x, axis, at, at + 1)
        return fitted(edge, (*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)

    return Concatenate(axis)(spread(0, low), x, spread(size - 1, high))


def _pad_mirrored(x: Node, axis: int, low: int, high: int, edge: int) -> Node:
    """Mirrored at its ends, again and again where it is short; ``edge`` elements are left out."""
    most = x.shape[axis] - edge
    if most < 1:
        raise ValueError(
            f"[pad] Cannot mirror {max(low, high)} elements of axis {axis} with size "
            f"{x.shape[axis]}."
        )

    def mirrored(x: Node, first: int, count: int) -> Node:
        """``count`` elements from ``first`` on, backwards."""
        starts = tuple(first if i == axis else 0 for i in range(x.ndim))
        steps = tuple(-1 if i == axis else 1 for i in range(x.ndim))
        return Slice(starts, steps, (*x.shape[:axis], count, *x.shape[axis + 1 :]))(x)

    while low or high:
        before, after = min(low, most), min(high, most)
        last = x.shape[axis] - 1 - edge
        parts = [mirrored(x, before - 1 + edge, before)] * bool(before) + [x]
        x = joined(parts + [mirrored(x, last, after)] * bool(after), axis)
        low, high = low - before, high - after
    return x


_EXTEND: dict[str, Callable[[Node, int, int, int], Node]] = {
    "edge": _pad_edge,
    "reflect": partial(_pad_mirrored, edge=1),
    "symmetric": partial(_pad_mirrored, edge=0),
}
