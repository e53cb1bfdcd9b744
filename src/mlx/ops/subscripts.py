"""``a[...]``, ``a[...] = v`` and ``a.at[...]``: what subscripts mean, as NumPy has it.

A subscript is a slice of the array (integers and slices: a view), then a gather or scatter at
its index arrays, and axes of size one where it says None.  The axes of the index arrays come
first in the result, unless the arrays (integers count) stand side by side.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any

import numpy as np

from mlx.array import ArrayAt, array, wrap
from mlx.base import dtype as dt
from mlx.base.errors import AxisError
from mlx.graph.node import Node, Shape
from mlx.ops.joining import stack
from mlx.ops.operands import broadcast_shape, node_of
from mlx.primitives.arithmetic import Maximum, Minimum
from mlx.primitives.base import full
from mlx.primitives.elementwise import Add, Divide, Multiply, Negative, Select, cast
from mlx.primitives.indexing import Gather, Scatter, SliceUpdate
from mlx.primitives.reductions import broadcast, broadcast_axes
from mlx.primitives.scans import CumSum
from mlx.primitives.views import Slice, reshape, transpose

Basic = int | builtins.slice | None | EllipsisType
_WRONG_TYPE = (
    "[index] Cannot index mlx array using the given type: {kind}. Use integers, slices, None, "
    "..., integer arrays or lists of integers."
)
_BOOLEAN = (
    "[index] boolean indices are not yet supported for reading: the shape of the result would "
    "depend on values. Use mx.where(mask, a, 0), or a[mask] = value to write."
)


def _normal(index: Any) -> Basic | Node:
    """One part of a subscript: an array becomes its node.  Raises ValueError for other types."""
    if index is None or index is Ellipsis or isinstance(index, builtins.slice):
        return index
    if isinstance(index, (bool, np.bool_)):
        return full((), dt.bool_, bool(index))
    if isinstance(index, (int, np.integer)):
        return int(index)
    if isinstance(index, (array, np.ndarray)):
        return _checked(node_of("index", index))
    if isinstance(index, list):
        return _checked(array(index if index else np.empty(0, np.int32))._node)
    raise ValueError(_WRONG_TYPE.format(kind=type(index).__name__))


def _checked(node: Node) -> Node:
    if node.dtype.is_integer or node.dtype is dt.bool_:
        return node
    raise ValueError(f"[index] Indices must be integers, got an array of {node.dtype.name}.")


def _bound(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, array):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ValueError(
        f"[index] Slice indices must be integers or None, got {type(value).__name__} "
        "(mx.slice takes an array of starts)."
    )


@dataclass
class Subscript:
    """A subscript applied to a shape.

    Attributes:
        starts, steps, sizes: the slice, one entry an axis; integers have size 1.
        dropped: axes that an integer takes away.
        arrays: index arrays by the number of their axis among those kept.
        layout: the result's axes in order: True an axis of the slice, False a new one, and
            ``block`` is where in it the axes of the arrays stand.
    """

    shape: Shape
    starts: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    dropped: set[int] = field(default_factory=set)
    arrays: dict[int, Node] = field(default_factory=dict)
    layout: list[bool] = field(default_factory=list)
    block: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether the slice is the array as it is."""
        return tuple(self.sizes) == self.shape and all(s == 1 for s in self.steps)

    @property
    def kept(self) -> Shape:
        """The sizes of the sliced array without the axes that integers take away."""
        return tuple(n for axis, n in enumerate(self.sizes) if axis not in self.dropped)

    @property
    def index_shape(self) -> Shape:
        return broadcast_shape(*(i.shape for i in self.arrays.values()))

    @property
    def rest(self) -> Shape:
        """The sizes of the kept axes that no array indexes."""
        return tuple(n for axis, n in enumerate(self.kept) if axis not in self.arrays)

    @property
    def position(self) -> int:
        """How many axes of rest come before those of the index arrays."""
        return sum(self.layout[: self.block])

    @property
    def result(self) -> Shape:
        rest = iter(self.rest)
        sizes = [next(rest) if is_axis else 1 for is_axis in self.layout]
        if not self.arrays:
            return tuple(sizes)
        return (*sizes[: self.block], *self.index_shape, *sizes[self.block :])

    def slice_of(self, x: Node) -> Node:
        """The sliced array, without the axes that integers take away."""
        if not self.is_whole:
            x = Slice(tuple(self.starts), tuple(self.steps), tuple(self.sizes))(x)
        return reshape(x, self.kept)

    def indices(self) -> list[Node]:
        """The index arrays, broadcast."""
        shape = self.index_shape
        return [broadcast(self.arrays[axis], shape) for axis in sorted(self.arrays)]

    def updates_of(self, value: Node) -> Node:
        """A value of the result's shape, arranged as a scatter takes its updates."""
        at, rest, found = self.position, self.rest, self.index_shape
        value = reshape(value, (*rest[:at], *found, *rest[at:]))
        here = range(at, at + len(found))
        return transpose(value, [*here, *(a for a in range(value.ndim) if a not in here)])


class _Parser:
    """Reads the parts of a subscript from left to right."""

    def __init__(self, shape: Shape, parts: Sequence[Basic | Node]) -> None:
        self.shape = shape
        self.out = Subscript(shape)
        self.axis = 0
        self.has_arrays = any(isinstance(p, Node) for p in parts)
        self.groups: list[int] = []
        consumed = sum(1 for p in parts if p is not None and p is not Ellipsis)
        if consumed > len(shape):
            raise AxisError(
                f"[index] Too many indices for array with {len(shape)} dimensions: {consumed} "
                f"for shape {shape}."
            )
        if sum(1 for p in parts if p is Ellipsis) > 1:
            raise ValueError("[index] An index can only have a single ellipsis (...).")
        if Ellipsis not in [p for p in parts if not isinstance(p, Node)]:
            parts = [*parts, Ellipsis]
        for number, part in enumerate(parts):
            if part is Ellipsis:
                for _ in range(len(shape) - consumed):
                    self._slice(builtins.slice(None))
            else:
                self._part(part, number)
        self._place_block()

    def _part(self, part: Basic | Node, number: int) -> None:
        if part is None:
            self.out.layout.append(False)
        elif isinstance(part, builtins.slice):
            self._slice(part)
        else:
            self.groups.append(number)
            if len(self.groups) == 1:
                self.out.block = len(self.out.layout)
            if isinstance(part, Node):
                self._array(part)
            else:
                self._integer(part)  # type: ignore[arg-type]

    def _take(self, start: int, step: int, size: int) -> None:
        self.out.starts.append(start)
        self.out.steps.append(step)
        self.out.sizes.append(size)
        self.axis += 1

    def _slice(self, part: builtins.slice) -> None:
        size = self.shape[self.axis]
        bounds = builtins.slice(_bound(part.start), _bound(part.stop), _bound(part.step))
        if bounds.step == 0:
            raise ValueError("[index] The step of a slice cannot be zero.")
        start, stop, step = bounds.indices(size)
        count = len(range(start, stop, step))
        self._take(start if count else 0, step, count)
        self.out.layout.append(True)

    def _integer(self, index: int) -> None:
        size = self.shape[self.axis]
        if not -size <= index < size:
            raise IndexError(
                f"[index] Index {index} is out of bounds for axis {self.axis} of size {size}."
            )
        self.out.dropped.add(self.axis)
        self._take(index % size, 1, 1)

    def _array(self, index: Node) -> None:
        self.out.arrays[self.axis - len(self.out.dropped)] = index
        self._take(0, 1, self.shape[self.axis])

    def _place_block(self) -> None:
        """Index arrays that don't stand side by side put their axes first."""
        groups = self.groups
        if not self.has_arrays or (groups and groups[-1] - groups[0] >= len(groups)):
            self.out.block = 0


def _parts(index: Any) -> list[Basic | Node]:
    if isinstance(index, tuple):
        return [_normal(part) for part in index]
    return [_normal(index)]


def _is_mask(part: Any) -> bool:
    return isinstance(part, Node) and part.dtype is dt.bool_


def getitem(a: array, index: Any) -> array:
    """``a[index]``."""
    x = a._node
    if type(index) is int and x.shape and -x.shape[0] <= index < x.shape[0]:
        return wrap(_element(x, index))
    parts = _parts(index)
    if any(_is_mask(part) for part in parts):
        raise ValueError(_BOOLEAN)
    sub = _Parser(x.shape, parts).out
    y = sub.slice_of(x)
    if sub.arrays:
        axes = tuple(sorted(sub.arrays))
        y = Gather(axes, position=sub.position)(y, *sub.indices())
    return wrap(reshape(y, sub.result))


def _element(x: Node, index: int) -> Node:
    """``x[index]`` for an integer, the usual case when iterating."""
    shape = x.shape
    starts = (index % shape[0],) + (0,) * (len(shape) - 1)
    cut = Slice(starts, (1,) * len(shape), (1, *shape[1:]))(x)
    return reshape(cut, shape[1:])


# -- writing -------------------------------------------------------------------------------


def _value_for(a: array, value: Any) -> Node:
    """What is written, in the array's dtype."""
    dtype = a.dtype
    if isinstance(value, array):
        return cast(value._node, dtype)
    if value is None:
        raise TypeError("[index] Expected a number or an array to write, got None.")
    if isinstance(value, (bool, int, float)) and (dtype.is_inexact or type(value) is int):
        return cast(node_of("index", value), dtype)
    return array(value, dtype)._node


def _spread(value: Node, shape: Shape) -> Node:
    """The value broadcast to a shape; leading axes of size one beyond it don't count."""
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    if broadcast_shape(value.shape, shape) != shape:
        raise ValueError(
            f"[index] Cannot broadcast array of shape {value.shape} into shape {shape}."
        )
    return broadcast(value, shape)


def setitem(a: array, index: Any, value: Any) -> None:
    """``a[index] = value``: binds the handle to a new value; nothing else sees it."""
    parts = _parts(index)
    new = _value_for(a, value)
    if any(_is_mask(part) for part in parts):
        a._node = _masked(a._node, parts, new)
        return
    sub = _Parser(a.shape, parts).out
    a._node = _updated(a._node, sub, _spread(new, sub.result), "set", lambda old, new: new)


def _updated(
    x: Node, sub: Subscript, value: Node, mode: str, combine: Callable[[Node, Node], Node]
) -> Node:
    """The array with values combined into a subscript: ``mode`` at index arrays, ``combine``
    where each element is reached once."""
    inner = sub.slice_of(x)
    if sub.arrays:
        scatter = Scatter(tuple(sorted(sub.arrays)), mode)
        inner = scatter(inner, sub.updates_of(value), *sub.indices())
    else:
        inner = combine(inner, reshape(value, sub.kept))
    inner = reshape(inner, tuple(sub.sizes))
    return inner if sub.is_whole else SliceUpdate(tuple(sub.starts), tuple(sub.steps))(x, inner)


def _masked(x: Node, parts: Sequence[Basic | Node], value: Node) -> Node:
    """``x[mask] = value``: one value for all, one along the axes that the mask lacks, or one
    for each True in turn."""
    if len(parts) != 1:
        raise ValueError("[index] A boolean mask must be the only index.")
    (mask,) = parts
    assert isinstance(mask, Node)
    if mask.shape != x.shape[: mask.ndim]:
        raise ValueError(
            f"[index] The boolean mask should have the same shape as the beginning of the "
            f"indexed array but the mask has shape {mask.shape} and the array {x.shape}."
        )
    rest = x.shape[mask.ndim :]
    where = broadcast_axes(mask, x.shape, range(mask.ndim))
    if value.ndim > len(rest) and value.shape[0] != 1:
        value = _in_turn(mask, value, rest)
    elif value.ndim > len(rest):
        value = reshape(value, value.shape[1:])
    return Select()(where, _spread(value, x.shape), x)


def _in_turn(mask: Node, values: Node, rest: Shape) -> Node:
    """The n-th value where the mask has its n-th True.  Too few values raise IndexError when
    evaluated."""
    values = _spread(values, (values.shape[0], *rest))
    flat = cast(reshape(mask, (mask.size,)), dt.int64)
    place = Multiply()(CumSum(0, inclusive=False)(flat), flat)
    return Gather((0,))(values, reshape(place, mask.shape))


# -- a.at[...] -----------------------------------------------------------------------------


def _at(
    mode: str, combine: Callable[[Node, Node], Node], what: str
) -> Callable[[ArrayAt, Any], array]:
    def method(self: ArrayAt, value: Any) -> array:
        x, sub = _target(self)
        new = _spread(_value_for(self._array, value), sub.result)
        return wrap(_updated(x, sub, new, mode, combine))

    method.__doc__ = f"The array with its elements at the indices {what} ``value``."
    return method


def _target(at: ArrayAt) -> tuple[Node, Subscript]:
    try:
        parts = _parts(at._indices)
    except AttributeError:
        raise ValueError(
            "[at] Must give indices to array.at (for example x.at[0].add(4))."
        ) from None
    if any(_is_mask(part) for part in parts):
        raise ValueError("[at] Boolean masks are not supported: use mx.where(mask, f(a), a).")
    x = at._array._node
    return x, _Parser(x.shape, parts).out


def _subtract(self: ArrayAt, value: Any) -> array:
    """The array with ``value`` subtracted from its elements at the indices."""
    x, sub = _target(self)
    new = Negative()(_spread(_value_for(self._array, value), sub.result))
    return wrap(_updated(x, sub, new, "add", Add()))


def _divide(self: ArrayAt, value: Any) -> array:
    """The array with its elements at the indices divided by ``value`` (integers truncate)."""
    x, sub = _target(self)
    divisor = _spread(_value_for(self._array, value), sub.result)
    if x.dtype.is_inexact:
        inverse = Divide()(full(divisor.shape, x.dtype, 1), divisor)
        return wrap(_updated(x, sub, inverse, "prod", Multiply()))
    ones = full(x.shape, dt.float64, 1)
    all_of = _updated(ones, sub, cast(divisor, dt.float64), "prod", Multiply())
    return wrap(cast(Divide()(cast(x, dt.float64), all_of), x.dtype))


def _stacked(values: Sequence[Any]) -> array:
    """A nested list that contains arrays."""
    parts = [array(v) for v in values]
    if any(p.shape != parts[0].shape for p in parts):
        shapes = ", ".join(str(p.shape) for p in parts)
        raise ValueError(f"[array] Initialization encountered non-uniform length: {shapes}.")
    return stack(parts)


def install() -> None:
    """Give ``array`` its subscripts."""
    array.__getitem__ = getitem  # type: ignore[attr-defined]
    array.__setitem__ = setitem  # type: ignore[attr-defined]
    array._stack = staticmethod(_stacked)
    ArrayAt.add = _at("add", Add(), "increased by")  # type: ignore[attr-defined]
    ArrayAt.multiply = _at("prod", Multiply(), "multiplied by")  # type: ignore[attr-defined]
    ArrayAt.maximum = _at("max", Maximum(), "replaced by a larger")  # type: ignore[attr-defined]
    ArrayAt.minimum = _at("min", Minimum(), "replaced by a smaller")  # type: ignore[attr-defined]
    ArrayAt.subtract = _subtract  # type: ignore[attr-defined]
    ArrayAt.divide = _divide  # type: ignore[attr-defined]


install()
