"""Arrays made of arrays: joined, split, repeated, rolled.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mlx.array import array, wrap
from mlx.base.dtype import PROMOTION
from mlx.base.lazy import numpy_kinds
from mlx.graph.chains import by_types, by_types_of_all
from mlx.graph.node import Node, Shape
from mlx.ops.operands import (
    Operand,
    array_node,
    axis_of,
    fitted,
    integer,
    integers,
    node_of,
    sequence,
    shape_of,
)
from mlx.ops.shape import diagonal, narrow
from mlx.primitives import views
from mlx.primitives.elementwise import cast
from mlx.primitives.reductions import Broadcast
from mlx.primitives.views import Concatenate, Embed


def _arrays(name: str, arrays: Any) -> list[Node]:
    """Nodes of a sequence of arrays, promoted to one dtype."""
    if type(arrays) is array:
        arrays = unstack(arrays)
    if type(arrays) is not list and type(arrays) is not tuple:
        arrays = sequence(name, "arrays", arrays)
    nodes = [a._node if type(a) is array else array_node(name, a) for a in arrays]
    if not nodes:
        raise ValueError(f"[{name}] No arrays provided.")
    dtype = nodes[0].dtype
    if all([x.dtype is dtype for x in nodes]):
        return nodes
    for x in nodes:
        dtype = PROMOTION[dtype.index][x.dtype.index]
    return [cast(x, dtype) for x in nodes]


def concatenate(arrays: Sequence[array], axis: int | None = 0, *, stream: Any = None) -> array:
    """Arrays one after another along an axis (flattened before that where it is None).

    Raises ValueError where ranks, or sizes of other axes, differ.

    >>> mx.concatenate([mx.array([1, 2]), mx.array([3.5])])
    array([1, 2, 3.5], dtype=float32)
    """
    nodes = _arrays("concatenate", arrays)
    if axis is None:
        nodes, axis = [views.reshape(x, (x.size,)) for x in nodes], 0
    if type(axis) is not int:
        axis = axis_of("concatenate", axis, nodes[0].ndim)
    primitive, shape = _concatenation(tuple([x.shape for x in nodes]), axis)
    if len(nodes) == 1:
        return wrap(nodes[0])
    return wrap(Node(primitive, tuple(nodes), shape, nodes[0].dtype))


@lru_cache(4096)
def _concatenation(shapes: tuple[Shape, ...], axis: int) -> tuple[Concatenate, Shape]:
    """What joins arrays of these shapes, and the result's shape."""
    if len({len(s) for s in shapes}) > 1:
        raise ValueError(
            f"[concatenate] All arrays must have the same number of dimensions, got {list(shapes)}."
        )
    first, *_ = shapes
    at = axis_of("concatenate", axis, len(first))
    if len({(*s[:at], *s[at + 1 :]) for s in shapes}) > 1:
        raise ValueError(
            f"[concatenate] Shapes must agree in all axes but {at}, got {list(shapes)}."
        )
    total = sum(s[at] for s in shapes)
    return Concatenate(at), (*first[:at], total, *first[at + 1 :])


concat = concatenate


def joined(nodes: Sequence[Node], axis: int) -> Node:
    """Nodes one after another along an axis."""
    return nodes[0] if len(nodes) == 1 else Concatenate(axis)(*nodes)


def stack(arrays: Sequence[array], axis: int = 0, *, stream: Any = None) -> array:
    """Arrays of one shape along a new axis.

    >>> mx.stack([mx.array([1, 2]), mx.array([3, 4])], axis=1)
    array([[1, 3],
           [2, 4]], dtype=int32)
    """
    return wrap(_stacked(_arrays("stack", arrays), axis))


@by_types_of_all
def _stacked(nodes: Sequence[Node], axis: int) -> Node:
    shape, *others = dict.fromkeys([x.shape for x in nodes])
    if others:
        raise ValueError(
            f"[stack] All arrays must have the same shape, got {[x.shape for x in nodes]}."
        )
    at = axis_of("stack", axis, len(shape) + 1)
    wider = (*shape[:at], 1, *shape[at:])
    return joined([views.reshape(x, wider) for x in nodes], at)


def split(
    a: array,
    /,
    indices_or_sections: int | Sequence[int],
    axis: int = 0,
    *,
    stream: Any = None,
) -> list[array]:
    """a in equal parts along an axis, or cut at indices.

    Raises ValueError where it cannot be cut into equal parts.

    >>> mx.split(mx.arange(4), 2)
    [array([0, 1], dtype=int32), array([2, 3], dtype=int32)]
    """
    x = array_node("split", a)
    at = axis_of("split", axis, x.ndim)
    size = x.shape[at]
    if isinstance(indices_or_sections, (int, numpy_kinds.integer)):
        count = int(indices_or_sections)
        if count < 1 or size % count:
            raise ValueError(
                f"[split] Cannot split axis {at} of shape {x.shape} into {count} equal parts."
            )
        cuts = [size // count * i for i in range(1, count)]
    else:
        given = integers("split", "an index", indices_or_sections)
        cuts = [min(max(i + size if i < 0 else i, 0), size) for i in given]
    edges = zip([0, *cuts], [*cuts, size], strict=True)
    return [wrap(narrow(x, at, start, max(start, stop))) for start, stop in edges]


def unstack(x: array, *, axis: int = 0, stream: Any = None) -> tuple[array, ...]:
    """The parts of x along an axis, without that axis.

    >>> mx.unstack(mx.array([[1, 2], [3, 4]]))
    (array([1, 2], dtype=int32), array([3, 4], dtype=int32))
    """
    node = array_node("unstack", x)
    at = axis_of("unstack", axis, node.ndim)
    rest = (*node.shape[:at], *node.shape[at + 1 :])
    parts = [narrow(node, at, i, i + 1) for i in range(node.shape[at])]
    return tuple(wrap(views.reshape(p, rest)) for p in parts)


def tile(a: array, reps: int | Sequence[int], /, *, stream: Any = None) -> array:
    """Copies of a side by side, ``reps`` along each of the last axes.

    >>> mx.tile(mx.array([1, 2]), 2)
    array([1, 2, 1, 2], dtype=int32)
    """
    return wrap(_tiled(array_node("tile", a), shape_of("tile", reps)))


@by_types(1)
def _tiled(x: Node, times: Shape) -> Node:
    n = max(len(times), x.ndim)
    times = (1,) * (n - len(times)) + times
    shape = (1,) * (n - x.ndim) + x.shape
    spread = tuple(m for pair in zip(times, shape, strict=True) for m in pair)
    wide = Broadcast(spread, tuple(range(2 * (n - x.ndim) + 1, 2 * n, 2)))(x)
    merged = tuple(r * s for r, s in zip(times, shape, strict=True))
    return views.reshape(wide, merged)


def repeat(array: Operand, /, repeats: int, axis: int | None = None, *, stream: Any = None) -> Any:
    """Each element ``repeats`` times along an axis (of the flattened array without one).

    >>> mx.repeat(mx.array([1, 2]), 2)
    array([1, 1, 2, 2], dtype=int32)
    """
    x = node_of("repeat", array)
    count = integer("repeat", "repeats", repeats)
    if count < 0:
        raise ValueError(f"[repeat] Number of repeats cannot be negative, got {count}.")
    if axis is None:
        x, axis = views.reshape(x, (x.size,)), 0
    return wrap(_repeated(x, axis_of("repeat", axis, x.ndim), count))


@by_types(1)
def _repeated(x: Node, axis: int, count: int) -> Node:
    front, back = x.shape[: axis + 1], x.shape[axis + 1 :]
    kept = tuple(i for i in range(x.ndim + 1) if i != axis + 1)
    wide = Broadcast((*front, count, *back), kept)(x)
    return views.reshape(wide, (*front[:-1], front[-1] * count, *back))


def roll(
    a: array,
    /,
    shift: int | Sequence[int],
    axis: int | Sequence[int] | None = None,
    *,
    stream: Any = None,
) -> array:
    """Elements moved along axes, those that leave at one end coming back at the other.

    Without an axis the flattened array is rolled.

    >>> mx.roll(mx.arange(4), 1)
    array([3, 0, 1, 2], dtype=int32)
    """
    x = array_node("roll", a)
    shifts = [shift] if isinstance(shift, int) else [*integers("roll", "shift", shift)]
    if axis is None:
        return wrap(_rolled_flat(x, sum(shifts)))
    axes = [axis] if isinstance(axis, int) else [*integers("roll", "axis", axis)]
    if len(shifts) == 1:
        shifts *= len(axes)
    if len(axes) == 1:
        shifts = [sum(shifts)]
    if len(shifts) != len(axes):
        raise ValueError(f"[roll] Got {len(shifts)} shifts for {len(axes)} axes.")
    moves: dict[int, int] = {}
    for at, by in zip(axes, shifts, strict=True):
        at = axis_of("roll", at, x.ndim)
        moves[at] = moves.get(at, 0) + by
    return wrap(_rolled(x, *moves.items()))


@by_types(1)
def _rolled_flat(x: Node, by: int) -> Node:
    return views.reshape(_parts_rolled(views.reshape(x, (x.size,)), ((0, by),)), x.shape)


@by_types(1)
def _rolled(x: Node, *moves: tuple[int, int]) -> Node:
    return _parts_rolled(x, moves)


def _parts_rolled(x: Node, moves: Sequence[tuple[int, int]]) -> Node:
    """Rolled along different axes.  Each part along an axis is rolled along the others by itself,
    so that it is written once, where it belongs."""
    for number, (axis, by) in enumerate(moves):
        size = x.shape[axis]
        by = by % size if size else 0
        if by:
            parts = narrow(x, axis, size - by, size), narrow(x, axis, 0, size - by)
            return Concatenate(axis)(*[_parts_rolled(p, moves[number + 1 :]) for p in parts])
    return x


def meshgrid(
    *arrays: array, sparse: bool = False, indexing: str = "xy", stream: Any = None
) -> tuple[array, ...]:
    """Coordinates of a grid: from vectors, one array each of the grid's shape.

    ``indexing="xy"`` exchanges the first two axes; ``sparse`` leaves out the broadcast.

    >>> mx.meshgrid(mx.array([1, 2]), mx.array([3, 4]))[0]
    array([[1, 2],
           [1, 2]], dtype=int32)
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"[meshgrid] indexing must be xy or ij, got {indexing!r}.")
    nodes = [array_node("meshgrid", a) for a in arrays]
    count = len(nodes)
    order = list(range(count))
    if indexing == "xy" and count > 1:
        order[:2] = 1, 0
    shape: Shape = tuple(nodes[order.index(i)].size for i in range(count))
    out = []
    for at, x in zip(order, nodes, strict=True):
        line = views.reshape(x, tuple(x.size if i == at else 1 for i in range(count)))
        out.append(wrap(line if sparse else fitted(line, shape, x.dtype)))
    return tuple(out)


def diag(a: array, /, k: int = 0, *, stream: Any = None) -> array:
    """A matrix with the vector a on its k-th diagonal, or the k-th diagonal of a matrix.

    >>> mx.diag(mx.array([1, 2]))
    array([[1, 0],
           [0, 2]], dtype=int32)
    """
    x, k = array_node("diag", a), integer("diag", "k", k)
    if x.ndim == 2:
        return diagonal(wrap(x), k)
    if x.ndim != 1:
        raise ValueError(f"[diag] Needs 1 or 2 dimensions, got shape {x.shape}.")
    return wrap(_on_diagonal(x, k))


@by_types(1)
def _on_diagonal(x: Node, k: int) -> Node:
    n = x.size + abs(k)
    start = k if k >= 0 else -k * n
    flat = Embed((start,), (n + 1,), (n * n,))(x)
    return views.reshape(flat, (n, n))
