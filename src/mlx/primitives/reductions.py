"""Reductions over one axis, and broadcasting, which is the transpose of a sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.elementwise import Equal, cast
from mlx.primitives.layout import Layout
from mlx.primitives.views import View, reshape


@dataclass(frozen=True)
class Broadcast(View):
    """Axis i of x becomes axis axes[i] of the result (ascending); sizes 1 are stretched."""

    sizes = frozenset({"shape"})
    shape: Shape
    axes: tuple[int, ...]

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        for n, axis in zip(x.shape, self.axes, strict=True):
            if n != 1 and n != self.shape[axis]:
                raise ValueError(f"[broadcast] Cannot broadcast {x.shape} to {self.shape}.")
        return self.shape, x.dtype

    def transpose(self, cotangent: Node, x: Node) -> Node:
        return sum_to(cotangent, x.shape, self.axes)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return Broadcast((size, *self.shape), (0, *(a + 1 for a in self.axes)))(x)

    def layout(self, of: Layout) -> Layout:
        return of.broadcast(self.shape, self.axes)


def broadcast(x: Node, shape: Shape) -> Node:
    """NumPy's broadcasting: missing axes in front, sizes 1 stretched."""
    if x.shape == shape:
        return x
    missing = len(shape) - x.ndim
    return Broadcast(shape, tuple(range(missing, len(shape))))(x)


def broadcast_axes(x: Node, shape: Shape, axes: Sequence[int]) -> Node:
    return Broadcast(shape, tuple(axes))(x)


def sum_to(x: Node, shape: Shape, axes: Sequence[int]) -> Node:
    """Undo a broadcast: sum over the axes that it made or stretched."""
    from_axes = {axis for n, axis in zip(shape, axes, strict=True) if n == x.shape[axis]}
    drop = [a for a in range(x.ndim) if a not in from_axes]
    return reshape(reduce_axes(Sum, x, drop), shape)


class Reduction(Primitive):
    """A fold along one axis, which the result lacks.

    A member says ``identity(dtype)`` and ``combine(emit, a, b)``.  The order of the fold
    depends on the size of the axis and the dtype only (see the backend's rows kernel).
    float16 and bfloat16 accumulate in float32 and round once.
    """

    by_types = True
    family = "reduction"
    shared = True
    axis: int

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return (*x.shape[: self.axis], *x.shape[self.axis + 1 :]), x.dtype

    def identity(self, dtype: Dtype) -> Any:
        raise TypeError(f"[{self.name}] declares no identity.")

    def combine(self, emit: Any, a: Any, b: Any) -> Any:
        raise TypeError(f"[{self.name}] declares no combine rule.")

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return type(self)(self.axis + 1)(x)  # type: ignore[call-arg]

    def spread(self, reduced: Node, x: Node) -> Node:
        """The reduced value back along the axis."""
        kept = [a for a in range(x.ndim) if a != self.axis]
        return Broadcast(x.shape, tuple(kept))(reduced)


@dataclass(frozen=True)
class Sum(Reduction):
    """The sum along an axis."""

    axis: int

    def identity(self, dtype: Dtype) -> Any:
        return 0

    def combine(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.add(a, b)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [self.spread(cotangents[0], node.inputs[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


class Extremum(Reduction):
    """Largest or smallest; equal ones share the derivative (of bool, any and all have none).
    NaN wins."""

    def _hits(self, node: Node) -> tuple[Node, Node]:
        """1 where an element is the extremum, else 0; and how many are."""
        (x,) = node.inputs
        hit = cast(Equal()(x, self.spread(node, x)), x.dtype)
        return hit, Sum(self.axis)(hit)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        if node.dtype is dt.bool_:
            return [None]
        hit, count = self._hits(node)
        return [hit * self.spread(cotangents[0] / count, node.inputs[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        if node.dtype is dt.bool_:
            return [None]
        hit, count = self._hits(node)
        return [Sum(self.axis)(hit * tangents[0]) / count]


@dataclass(frozen=True)
class Max(Extremum):
    """The largest along an axis (any, for bool)."""

    axis: int

    def identity(self, dtype: Dtype) -> Any:
        return lowest(dtype)

    def combine(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.maximum(a, b)


@dataclass(frozen=True)
class Min(Extremum):
    """The smallest along an axis (all, for bool)."""

    axis: int

    def identity(self, dtype: Dtype) -> Any:
        return highest(dtype)

    def combine(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.minimum(a, b)


def lowest(dtype: Dtype) -> Any:
    """The identity of max."""
    if dtype.is_inexact:
        return float("-inf")
    return -(2 ** (8 * dtype.size - 1)) if dtype.is_signed else 0


def highest(dtype: Dtype) -> Any:
    """The identity of min."""
    if dtype.is_inexact:
        return float("inf")
    if dtype is dt.bool_:
        return 1
    return 2 ** (8 * dtype.size - dtype.is_signed) - 1


def reduce_axes(make: Callable[[int], Reduction], x: Node, axes: Sequence[int]) -> Node:
    """Reduce over several axes: adjacent ones as one, the last run first."""
    for start, stop in reversed(_runs(sorted(axes))):
        merged = prod(x.shape[start:stop])
        x = reshape(x, (*x.shape[:start], merged, *x.shape[stop:]))
        x = make(start)(x)
    return x


def _runs(axes: Sequence[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for axis in axes:
        if runs and runs[-1][1] == axis:
            runs[-1] = (runs[-1][0], axis + 1)
        else:
            runs.append((axis, axis + 1))
    return runs
