"""Arrays prolonged at their ends.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.array import array, wrap
from mlx.base.lazy import numpy_kinds
from mlx.graph.chains import by_types
from mlx.graph.node import Node
from mlx.ops.joining import joined
from mlx.ops.operands import Operand, array_node, fitted, integers, node_of, sequence
from mlx.ops.shape import narrow
from mlx.primitives.elementwise import cast
from mlx.primitives.views import Embed, Slice

Widths = tuple[tuple[int, int], ...]
Beside = Callable[[Node, int, int, int], list[Node]]
"""From an array, an axis and widths: the parts of the padded axis, the array among them."""


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
    widths = tuple(_widths(pad_width, x.ndim))
    if mode == "constant":
        if type(constant_values) in (int, float) and constant_values == 0:
            return wrap(_embedded(x, widths))
        value = cast(node_of("pad", constant_values), x.dtype)
        if getattr(value.primitive, "value", None) == 0:
            return wrap(_embedded(x, widths))
        return wrap(_framed(x, value, widths))
    beside = _BESIDE.get(mode)
    if beside is None:
        raise ValueError(f"[pad] Unknown mode {mode!r}: use constant, edge, reflect or symmetric.")
    return wrap(_prolonged(x, widths, beside))


@by_types(1)
def _embedded(x: Node, widths: Widths) -> Node:
    """x among zeros."""
    starts = tuple(low for low, _ in widths)
    shape = tuple(low + n + high for n, (low, high) in zip(x.shape, widths, strict=True))
    return x if shape == x.shape else Embed(starts, (1,) * x.ndim, shape)(x)


@by_types(2)
def _framed(x: Node, value: Node, widths: Widths) -> Node:
    """x in a frame of one value."""
    for axis, (low, high) in enumerate(widths):
        around = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in (low, high)]
        before, after = (fitted(value, shape, x.dtype) for shape in around)
        x = joined([p for p in (before, x, after) if p.shape[axis]], axis) if low or high else x
    return x


@by_types(1)
def _prolonged(x: Node, widths: Widths, beside: Beside) -> Node:
    return _extended(x, widths, beside, 0)


def _widths(pad_width: Any, ndim: int) -> list[tuple[int, int]]:
    if type(pad_width) is int and pad_width >= 0:
        return [(pad_width, pad_width)] * ndim
    if isinstance(pad_width, (int, numpy_kinds.integer)):
        pad_width = [pad_width]
    entries = sequence("pad", "pad_width", pad_width)
    if all(isinstance(w, (int, numpy_kinds.integer)) for w in entries):
        if len(entries) not in (1, 2):
            raise ValueError(f"[pad] Expected pairs (before, after), got {pad_width}.")
        pairs = [(int(entries[0]), int(entries[-1]))] * ndim
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


def _extended(x: Node, widths: Widths, beside: Beside, first: int) -> Node:
    """Extended along the axes from ``first`` on.  Each part along an axis is extended along the
    others by itself, so that it is written once, where it belongs."""
    for axis in range(first, x.ndim):
        if any(widths[axis]):
            parts = beside(x, axis, *widths[axis])
            whole = [_extended(p, widths, beside, axis + 1) for p in parts if p.shape[axis]]
            return joined(whole, axis)
    return x


def _beside_edge(x: Node, axis: int, low: int, high: int) -> list[Node]:
    size = x.shape[axis]
    if size == 0:
        raise ValueError(f"[pad] Cannot extend axis {axis} with size 0 by its edge.")

    def spread(at: int, count: int) -> Node:
        edge = narrow(x, axis, at, at + 1)
        return fitted(edge, (*x.shape[:axis], count, *x.shape[axis + 1 :]), x.dtype)

    return [spread(0, low), x, spread(size - 1, high)]


def _beside_mirrored(x: Node, axis: int, low: int, high: int, edge: int) -> list[Node]:
    """Mirrored at its ends, again and again where it is short; ``edge`` elements are left out."""
    period = x.shape[axis] - edge
    if period < 1:
        raise ValueError(
            f"[pad] Cannot mirror {max(low, high)} elements of axis {axis} with size "
            f"{x.shape[axis]}."
        )

    def mirrored(x: Node, first: int, count: int) -> Node:
        """``count`` elements from ``first`` on, backwards."""
        starts = tuple(first if i == axis else 0 for i in range(x.ndim))
        steps = tuple(-1 if i == axis else 1 for i in range(x.ndim))
        return Slice(starts, steps, (*x.shape[:axis], count, *x.shape[axis + 1 :]))(x)

    parts = [x]
    while low or high:
        x = joined(parts, axis)
        most = (x.shape[axis] - edge) // period * period  # so that it ends at a mirror
        before, after = min(low, most), min(high, most)
        last = x.shape[axis] - 1 - edge
        parts = [mirrored(x, before - 1 + edge, before), x, mirrored(x, last, after)]
        parts = [p for p in parts if p.shape[axis]]
        low, high = low - before, high - after
    return parts


_BESIDE: dict[str, Beside] = {
    "edge": _beside_edge,
    "reflect": partial(_beside_mirrored, edge=1),
    "symmetric": partial(_beside_mirrored, edge=0),
}
