"""Gather and scatter: reading and writing at computed indices.

Both share a description of where things lie.  The first ``batch`` and the last ``behind`` axes of
the array, of every index array and of the result run together.  ``axes`` (ascending) are indexed,
one integer array each, all of one shape batch + I + behind.  What is left of the array's axes is
called rest: with
``window`` None the indexed axes are missing from it, else each has the window's size there and
the index says where the window starts.  Negative indices count from the end; an index out of
bounds makes the evaluation raise IndexError.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, full, iota
from mlx.primitives.elementwise import Add, Conjugate, Equal, Multiply, cast, where
from mlx.primitives.reductions import broadcast_axes
from mlx.primitives.views import Embed, Slice, reshape, transpose

MODES = ("set", "add", "prod", "max", "min")


class Indexing(Primitive):
    """What gather and scatter have in common."""

    family = "indexing"
    shared = True
    sizes = frozenset({"shape", "window"})
    axes: tuple[int, ...]
    batch: int
    window: Shape | None
    behind: int

    @property
    def size_values(self) -> tuple[int, ...]:
        return self.window or ()

    def rest_axes(self, ndim: int) -> list[int]:
        """The array's axes that are part of rest."""
        kept = range(self.batch, ndim - self.behind)
        return [a for a in kept if self.window is not None or a not in self.axes]

    def rest(self, shape: Shape) -> Shape:
        """The sizes of rest."""
        sizes = dict(enumerate(shape))
        if self.window is not None:
            sizes |= dict(zip(self.axes, self.window, strict=True))
        return tuple(sizes[a] for a in self.rest_axes(len(shape)))

    def index_shape(self, shape: Shape, indices: Sequence[Node]) -> Shape:
        """I, after checks (a mismatch is a bug in the caller)."""
        first = indices[0].shape
        same = all(i.shape == first and i.dtype.is_integer for i in indices)
        same = same and first[: self.batch] == shape[: self.batch]
        if len(indices) != len(self.axes) or not same or self.last(first) != self.last(shape):
            raise ValueError(f"[{self.name}] {self} cannot index {shape} by {list(indices)}.")
        return first[self.batch : len(first) - self.behind]

    def last(self, shape: Shape) -> Shape:
        """The sizes of the axes behind."""
        return shape[len(shape) - self.behind :]

    def index_ndim(self, index: Node) -> int:
        """How many axes I has."""
        return index.ndim - self.batch - self.behind

    def deeper(self, **changes: Any) -> dict[str, Any]:
        """Fields with one more batch axis in front."""
        return {
            "axes": tuple(a + 1 for a in self.axes),
            "batch": self.batch + 1,
            "window": self.window,
            "behind": self.behind,
            **changes,
        }


@dataclass(frozen=True)
class Gather(Indexing):
    """``out[b, i, r, l] = src[b, at indices[b, i, l], r, l]``, with I before axis ``position`` of
    rest."""

    by_types = True
    axes: tuple[int, ...]
    batch: int = 0
    position: int = 0
    window: Shape | None = None
    behind: int = 0

    def infer(self, src: Node, *indices: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        found = self.index_shape(src.shape, indices)
        rest, at = self.rest(src.shape), self.position
        inner = (*rest[:at], *found, *rest[at:])
        return (*src.shape[: self.batch], *inner, *self.last(src.shape)), src.dtype

    def _index_first(self, x: Node, ndim: int) -> Node:
        """The result's axes as batch, I, rest, behind."""
        lead, at = self.batch, self.batch + self.position
        order = [*range(lead), *range(at, at + ndim), *range(lead, at), *range(at + ndim, x.ndim)]
        return transpose(x, order)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        src, *indices = node.inputs
        updates = self._index_first(cotangents[0], self.index_ndim(indices[0]))
        if (
            self.window is None
            and not self.behind
            and len(indices) == 1
            and indices[0].size == prod(src.shape[: self.batch])
        ):
            return [self._one_place(updates, src, indices[0]), None]
        exact = dt.float32 if src.dtype in (dt.float16, dt.bfloat16) else src.dtype
        back = ScatterSum(self.axes, src.shape, self.batch, self.window, self.behind)
        total = cast(back(cast(updates, exact), *indices), src.dtype)
        return [total, *[None] * len(indices)]

    def _one_place(self, updates: Node, src: Node, index: Node) -> Node:
        """One index for each of the batch: a comparison, which fuses, in place of a scatter."""
        (axis,), shape = self.axes, src.shape
        lead = shape[: self.batch]
        at = broadcast_axes(reshape(index, lead), shape, range(self.batch))
        behind = where(at < full(shape, at.dtype, 0), at + shape[axis], at)
        rest = [a for a in range(src.ndim) if a != axis]
        value = reshape(updates, tuple(shape[a] for a in rest))
        hit = Equal()(iota(shape, axis, at.dtype), behind)
        return where(hit, broadcast_axes(value, shape, rest), 0)

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [None if tangents[0] is None else self(tangents[0], *node.inputs[1:])]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return Gather(**self.deeper(position=self.position))(*inputs)


@dataclass(frozen=True)
class ScatterSum(Indexing):
    """The transpose of Gather: updates of shape batch + I + rest + behind, summed into zeros."""

    by_types = True
    axes: tuple[int, ...]
    shape: Shape
    batch: int = 0
    window: Shape | None = None
    behind: int = 0

    def infer(self, updates: Node, *indices: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        _check_updates(self, self.shape, updates, indices)
        return self.shape, updates.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        back = Gather(self.axes, self.batch, 0, self.window, self.behind)
        return [back(cotangents[0], *node.inputs[1:]), *[None] * (len(node.inputs) - 1)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [None if tangents[0] is None else self(tangents[0], *node.inputs[1:])]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return ScatterSum(**self.deeper(shape=(size, *self.shape)))(*inputs)


@dataclass(frozen=True)
class Scatter(Indexing):
    """The array with updates of shape batch + I + rest + behind combined into it, in index order.

    ``mode`` is one of MODES; of several updates ``set`` at one place the last stays.
    """

    updates_first = True
    by_types = True
    axes: tuple[int, ...]
    mode: str
    batch: int = 0
    window: Shape | None = None
    behind: int = 0

    def infer(self, array: Node, updates: Node, *indices: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        _check_updates(self, array.shape, updates, indices)
        if array.dtype is not updates.dtype:
            raise ValueError(f"[{self.name}] dtypes differ: {[array, updates]}.")
        return array.shape, array.dtype

    def vmap(self, size: int, *inputs: Node) -> Node:
        return Scatter(**self.deeper(mode=self.mode))(*inputs)

    def _gather(self, x: Node, indices: Sequence[Node]) -> Node:
        return Gather(self.axes, self.batch, 0, self.window, self.behind)(x, *indices)

    def _sum(self, updates: Node, array: Node, indices: Sequence[Node]) -> Node:
        back = ScatterSum(self.axes, array.shape, self.batch, self.window, self.behind)
        return back(updates, *indices)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        array, updates, *indices = node.inputs
        (cotangent,) = cotangents
        none = [None] * len(indices)
        of_updates = self._gather(cotangent, indices) if wanted[1] else None
        if self.mode == "add":
            return [cotangent, of_updates, *none]
        if self.mode == "set":
            zeros = full(updates.shape, updates.dtype, 0)
            if of_updates is not None:
                stays = self._stays(array, updates, indices)
                of_updates = of_updates if stays is None else where(stays, of_updates, 0)
            return [self(cotangent, zeros, *indices), of_updates, *none]
        of_array, slope = (_conjugate(w) for w in self._weights(node))
        if of_updates is not None:
            of_updates = Multiply()(slope, of_updates)
        return [Multiply()(of_array, cotangent), of_updates, *none]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        array, updates, *indices = node.inputs
        of_array, of_updates, *_ = (
            full(x.shape, x.dtype, 0) if t is None else t
            for x, t in zip(node.inputs[:2], tangents[:2], strict=True)
        )
        if self.mode in ("add", "set"):
            return [self(of_array, of_updates, *indices)]
        weight, slope = self._weights(node)
        moved = self._sum(Multiply()(slope, of_updates), array, indices)
        return [Add()(Multiply()(weight, of_array), moved)]

    def _stays(self, array: Node, updates: Node, indices: Sequence[Node]) -> Node | None:
        """Which updates no later one overwrites; None where there is but one a place."""
        batch, width = self.batch, len(self.axes)
        lead = indices[0].shape[: batch + self.index_ndim(indices[0])]
        count = prod(lead[batch:])
        if count <= 1:
            return None
        inner = tuple(range(batch, batch + width))
        window, last = self.window or (), self.last(array.shape)
        order = reshape(iota((count,), 0, dt.int64), lead[batch:])
        order = broadcast_axes(order, (*lead, *window, *last), range(batch, len(lead)))
        places = (*lead[:batch], *(array.shape[a] for a in self.axes), *last)
        put = Scatter(inner, "set", batch, self.window, self.behind)
        latest = put(full(places, dt.int64, 0), order, *indices)
        back = Gather(inner, batch, 0, self.window, self.behind)
        stays = Equal()(back(latest, *indices), order)
        rest = self.rest_axes(array.ndim)
        kept = [rest.index(a) for a in self.axes] if self.window is not None else []
        behind = range(updates.ndim - self.behind, updates.ndim)
        return broadcast_axes(
            stays, updates.shape, [*range(len(lead)), *(len(lead) + i for i in kept), *behind]
        )

    def _weights(self, node: Node) -> tuple[Node, Node]:
        """The derivatives of the result with respect to the array and to each update."""
        array, updates, *indices = node.inputs
        if self.mode == "prod":
            return self._weights_of_product(node)
        hit = cast(Equal()(array, node), array.dtype)
        hits = cast(Equal()(updates, self._gather(node, indices)), array.dtype)
        count = Add()(hit, self._sum(hits, array, indices))
        return hit / count, hits / self._gather(count, indices)

    def _weights_of_product(self, node: Node) -> tuple[Node, Node]:
        """The product of all other factors, also where one is zero."""
        array, updates, *indices = node.inputs
        one, zero = full(array.shape, array.dtype, 1), full(updates.shape, updates.dtype, 0)
        is_zero = Equal()(updates, zero)
        nonzero = where(is_zero, 1, updates)
        zeros = self._gather(self._sum(cast(is_zero, array.dtype), array, indices), indices)
        only = Equal()(zeros, full(zeros.shape, zeros.dtype, 1))
        others = where(only, self._gather(self(array, nonzero, *indices), indices), 0)
        plain = self._gather(node, indices) / nonzero
        return self(one, updates, *indices), where(is_zero, others, plain)


def _conjugate(x: Node) -> Node:
    return Conjugate()(x) if x.dtype.is_complex else x


def _check_updates(
    primitive: Indexing, shape: Shape, updates: Node, indices: Sequence[Node]
) -> None:
    found = primitive.index_shape(shape, indices)
    rest, last = primitive.rest(shape), primitive.last(shape)
    expected = (*shape[: primitive.batch], *found, *rest, *last)
    if updates.shape != expected:
        raise ValueError(
            f"[{primitive.name}] updates of shape {updates.shape} where {expected} is needed."
        )


@dataclass(frozen=True)
class SliceUpdate(Primitive):
    """The array with the update in place of ``array[starts :: steps]``."""

    by_types = True
    family = "join"
    shared = True
    updates_first = True
    sizes = frozenset({"starts"})
    starts: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def size_values(self) -> tuple[int, ...]:
        return self.starts

    def _slice(self, shape: Shape) -> Slice:
        return Slice(self.starts, self.steps, shape)

    def infer(self, array: Node, update: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        self._slice(update.shape).infer(array)
        if array.dtype is not update.dtype:
            raise ValueError(f"[{self.name}] dtypes differ: {[array, update]}.")
        return array.shape, array.dtype

    def placements(self, array: Node, update: Node) -> list[Slice]:
        """Where the inputs lie in the result; the later one covers the earlier."""
        whole = Slice((0,) * array.ndim, (1,) * array.ndim, array.shape)
        return [whole, self._slice(update.shape)]

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        _, update = node.inputs
        (cotangent,) = cotangents
        of_array = self(cotangent, full(update.shape, update.dtype, 0)) if wanted[0] else None
        return [of_array, self._slice(update.shape)(cotangent) if wanted[1] else None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        both = [
            full(x.shape, x.dtype, 0) if t is None else t
            for t, x in zip(tangents, node.inputs, strict=True)
        ]
        return [self(*both)]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return SliceUpdate((0, *self.starts), (1, *self.steps))(*inputs)


@dataclass(frozen=True)
class SliceAdd(SliceUpdate):
    """The array with a part added to ``array[starts :: steps]``."""

    accumulates = True

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (cotangent,) = cotangents
        part = node.inputs[1]
        return [cotangent, self._slice(part.shape)(cotangent) if wanted[1] else None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        of_array, of_part = tangents
        if of_array is None:
            return [Embed(self.starts, self.steps, node.shape)(of_part)]
        return [of_array if of_part is None else self(of_array, of_part)]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return SliceAdd((0, *self.starts), (1, *self.steps))(*inputs)
