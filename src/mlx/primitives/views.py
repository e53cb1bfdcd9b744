"""The view family: the same elements in another arrangement; free wherever strides can say it."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, full
from mlx.primitives.layout import Layout


class View(Primitive):
    """A linear rearrangement of one input; its transpose is its derivative.

    A member declares ``infer``, ``transpose(cotangent, x)`` and ``layout(of)``: the layout of
    the result given the input's, or None where strides cannot say it.
    """

    by_types = True
    family = "view"
    shared = True

    def transpose(self, cotangent: Node, x: Node) -> Node:
        raise TypeError(f"[{self.name}] declares no transpose rule.")

    def layout(self, of: Layout) -> Layout | None:
        raise TypeError(f"[{self.name}] declares no layout rule.")

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [self.transpose(cotangents[0], node.inputs[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


@dataclass(frozen=True)
class Reshape(View):
    """The elements in row-major order in another shape."""

    sizes = frozenset({"shape"})
    shape: Shape

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        if prod(x.shape) != prod(self.shape):
            raise ValueError(f"[reshape] Cannot reshape {x.shape} into {self.shape}.")
        return self.shape, x.dtype

    def transpose(self, cotangent: Node, x: Node) -> Node:
        return reshape(cotangent, x.shape)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return reshape(x, (size, *self.shape))

    def layout(self, of: Layout) -> Layout | None:
        return of.reshape(self.shape)


def reshape(x: Node, shape: Shape) -> Node:
    return x if x.shape == shape else Reshape(shape)(x)


@dataclass(frozen=True)
class Transpose(View):
    """Axis i of the result is axis axes[i] of x."""

    axes: tuple[int, ...]

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return tuple(x.shape[a] for a in self.axes), x.dtype

    def transpose(self, cotangent: Node, x: Node) -> Node:
        return Transpose(inverse(self.axes))(cotangent)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return Transpose((0, *(a + 1 for a in self.axes)))(x)

    def layout(self, of: Layout) -> Layout:
        return of.transpose(self.axes)


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    out = [0] * len(axes)
    for position, axis in enumerate(axes):
        out[axis] = position
    return tuple(out)


def transpose(x: Node, axes: Sequence[int]) -> Node:
    axes = tuple(axes)
    return x if axes == tuple(range(len(axes))) else Transpose(axes)(x)


def moveaxis(x: Node, source: int, destination: int) -> Node:
    if source == destination:
        return x
    order = [a for a in range(x.ndim) if a != source]
    order.insert(destination, source)
    return transpose(x, order)


@dataclass(frozen=True)
class Slice(View):
    """``x[starts[i] :: steps[i]]``, shape[i] elements along each axis; steps may be negative."""

    shared = False  # too many different ones
    sizes = frozenset({"starts", "shape"})
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    shape: Shape

    @property
    def size_values(self) -> tuple[int, ...]:
        return self.starts

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        for n, start, step, size in zip(x.shape, self.starts, self.steps, self.shape, strict=True):
            last = start + (size - 1) * step
            if size and not (0 <= start < n and 0 <= last < n):
                raise ValueError(f"[slice] {self} is out of bounds of {x.shape}.")
        return self.shape, x.dtype

    def transpose(self, cotangent: Node, x: Node) -> Node:
        return Embed(self.starts, self.steps, x.shape)(cotangent)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return Slice((0, *self.starts), (1, *self.steps), (size, *self.shape))(x)

    def layout(self, of: Layout) -> Layout | None:
        return of.slice(self.starts, self.steps, self.shape)


@dataclass(frozen=True)
class Embed(Primitive):
    """The transpose of Slice: x at ``starts`` with ``steps`` in an array of zeros."""

    by_types = True
    family = "join"
    sizes = frozenset({"starts", "shape"})
    starts: tuple[int, ...]
    steps: tuple[int, ...]
    shape: Shape

    @property
    def size_values(self) -> tuple[int, ...]:
        return self.starts

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return self.shape, x.dtype

    def _slice(self, x: Node) -> Slice:
        return Slice(self.starts, self.steps, x.shape)

    def placements(self, *inputs: Node) -> list[Slice]:
        """Where each input lies in the result; what no input covers is zero."""
        return [self._slice(inputs[0])]

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [self._slice(node.inputs[0])(cotangents[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return Embed((0, *self.starts), (1, *self.steps), (size, *self.shape))(x)


@dataclass(frozen=True)
class Concatenate(Primitive):
    """Inputs one after another along an axis."""

    by_types = True
    family = "join"
    shared = True
    axis: int

    def infer(self, *inputs: Node) -> tuple[Shape, Dtype]:
        first, axis = inputs[0], self.axis
        for other in inputs:
            rest = (*other.shape[:axis], *other.shape[axis + 1 :])
            if rest != (*first.shape[:axis], *first.shape[axis + 1 :]):
                raise ValueError(f"[concatenate] shapes differ: {[i.shape for i in inputs]}.")
        total = sum(i.shape[axis] for i in inputs)
        return (*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype

    def placements(self, *inputs: Node) -> list[Slice]:
        at, out = 0, []
        for x in inputs:
            starts = tuple(at if a == self.axis else 0 for a in range(x.ndim))
            out.append(Slice(starts, (1,) * x.ndim, x.shape))
            at += x.shape[self.axis]
        return out

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        slices = self.placements(*node.inputs)
        return [s(cotangents[0]) if w else None for s, w in zip(slices, wanted, strict=True)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        from_zero = [
            full(x.shape, x.dtype, 0) if t is None else t
            for t, x in zip(tangents, node.inputs, strict=True)
        ]
        return [self(*from_zero)]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return Concatenate(self.axis + 1)(*inputs)
