"""Subscripts: what ``[...]`` means for a shape, as NumPy has it.

A subscript is a slice of the array (integers and slices: a view), then a gather or scatter at
its index arrays, and axes of size one where it says None.  The axes of the index arrays come
first in the result, unless the arrays (integers count) stand side by side.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, NamedTuple

from mlx.array import array
from mlx.base import dtype as dt
from mlx.base.errors import AxisError
from mlx.base.lazy import numpy as np
from mlx.base.lazy import numpy_kinds
from mlx.graph.node import Node, Shape
from mlx.ops.operands import broadcast_shape, node_of
from mlx.primitives.base import full
from mlx.primitives.reductions import broadcast
from mlx.primitives.views import Reshape, Slice, reshape, transpose

Basic = int | builtins.slice | None | EllipsisType
_WRONG_TYPE = (
    "[index] Cannot index mlx array using the given type: {kind}. Use integers, slices, None, "
    "..., integer arrays or lists of integers."
)


def _normal(index: Any) -> Basic | Node:
    """One part of a subscript: an array becomes its node.  Raises ValueError for other types."""
    if index is None or index is Ellipsis or isinstance(index, builtins.slice):
        return index
    if isinstance(index, (bool, numpy_kinds.bool_)):
        return full((), dt.bool_, bool(index))
    if isinstance(index, (int, numpy_kinds.integer)):
        return int(index)
    if isinstance(index, (array, numpy_kinds.ndarray)):
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
            x = cut(x, tuple(self.starts), tuple(self.steps), tuple(self.sizes))
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


def subscript(shape: Shape, parts: Sequence[Basic | Node]) -> Subscript:
    """What the parts of a subscript mean for a shape.

    Raises IndexError for too many or integers out of bounds, ValueError for wrong slices.
    """
    return _Parser(shape, parts).out


def parts_of(index: Any) -> list[Basic | Node]:
    """What stands between the brackets, arrays as nodes.  Raises ValueError for wrong types."""
    if isinstance(index, tuple):
        return [_normal(part) for part in index]
    return [_normal(index)]


def is_mask(part: Any) -> bool:
    return isinstance(part, Node) and part.dtype is dt.bool_


# -- the short way for integers, slices, None and ... -----------------------------------------


class Plain(NamedTuple):
    """A slice, and the shape of the result: without the axes that integers take away, with
    those that None adds."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]
    sizes: tuple[int, ...]
    result: Shape

    def slice_of(self, x: Node) -> Node:
        """The sliced array in the result's shape."""
        if self.sizes != x.shape or self.steps != (1,) * len(self.steps):
            x = cut(x, self.starts, self.steps, self.sizes)
        return x if x.shape == self.result else reshaped(x, self.result)


_PLAIN = frozenset({int, builtins.slice, type(None), EllipsisType})
_BOUNDS = frozenset({int, type(None)})


def plain_key(index: Any) -> tuple[Any, ...] | None:
    """A subscript of integers, slices, None and ... in a hashable form; None for all others."""
    key = []
    for part in index if type(index) is tuple else (index,):
        kind = type(part)
        if kind is builtins.slice:
            part = part.start, part.stop, part.step
            if not _BOUNDS.issuperset(map(type, part)):
                return None
        elif kind not in _PLAIN:
            return None
        key.append(part)
    return tuple(key)


def mixed_key(index: Any) -> tuple[tuple[Any, ...], list[Node]] | None:
    """A subscript of these and of arrays of integers: in a hashable form, in which ``array``
    stands for each array, and their nodes; None for all others."""
    if type(index) is array:
        return ((array,), [index._node]) if index._node.dtype.is_integer else None
    parts, nodes = index if type(index) is tuple else (index,), []
    for part in parts:
        if type(part) is array:
            if not part._node.dtype.is_integer:
                return None
            nodes.append(part._node)
    key = plain_key(tuple([... if type(part) is array else part for part in parts]))
    if key is None or not nodes:
        return None
    return tuple([
        array if type(part) is array else known for part, known in zip(parts, key, strict=True)
    ]), nodes  # fmt: skip


def unmixed(key: tuple[Any, ...], nodes: Sequence[Node]) -> list[Basic | Node]:
    """The parts of a subscript that ``mixed_key`` gave."""
    rest = iter(nodes)
    return [
        next(rest) if part is array else builtins.slice(*part) if type(part) is tuple else part
        for part in key
    ]


def plain(shape: Shape, index: Any) -> Plain | None:
    """The meaning of a subscript of integers, slices, None and ...; None for all others, and
    for wrong ones."""
    parts = index if type(index) is tuple else (index,)
    kinds = [type(p) for p in parts]
    if not _PLAIN.issuperset(kinds):
        return None
    missing = len(shape) - kinds.count(int) - kinds.count(builtins.slice)
    dots = kinds.count(EllipsisType)
    if missing < 0 or dots > 1:
        return None
    starts: list[int] = []
    steps: list[int] = []
    sizes: list[int] = []
    result: list[int] = []
    for part in parts if dots else (*parts, ...):
        if part is None:
            result.append(1)
            continue
        axis = len(sizes)
        if part is Ellipsis:
            rest = shape[axis : axis + missing]
            starts += (0,) * missing
            steps += (1,) * missing
            sizes += rest
            result += rest
            continue
        found = _along(shape[axis], part)
        if found is None:
            return None
        starts.append(found[0])
        steps.append(found[1])
        sizes.append(found[2])
        if type(part) is not int:
            result.append(found[2])
    return Plain(tuple(starts), tuple(steps), tuple(sizes), tuple(result))


def _along(size: int, part: Any) -> tuple[int, int, int] | None:
    """Start, step and number of an integer or slice along one axis; None for a wrong one."""
    if type(part) is int:
        return (part % size, 1, 1) if -size <= part < size else None
    if not _BOUNDS.issuperset((type(part.start), type(part.stop), type(part.step))):
        return None
    if part.step == 0:
        return None
    start, stop, step = part.indices(size)
    count = len(range(start, stop, step))
    return (start if count else 0, step, count)


def cut(x: Node, starts: Shape, steps: Shape, sizes: Shape) -> Node:
    """A Slice known to be in bounds, made without the checks: it is on the recording path."""
    primitive = Slice.__new__(Slice)
    primitive.__dict__.update(starts=starts, steps=steps, shape=sizes)
    return Node(primitive, (x,), sizes, x.dtype)


def reshaped(x: Node, shape: Shape) -> Node:
    """A Reshape to a shape known to fit, made without the checks."""
    primitive = Reshape.__new__(Reshape)
    primitive.__dict__["shape"] = shape
    return Node(primitive, (x,), shape, x.dtype)
