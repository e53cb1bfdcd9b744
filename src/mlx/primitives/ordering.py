"""Order along an axis: positions of extrema, sorting.  NaN counts as the largest in sorts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.indexing import Gather
from mlx.primitives.views import Slice


def take_along(x: Node, index: Node, axis: int) -> Node:
    """``out[..., i, ...] = x[..., index[..., i, ...], ...]`` along an axis."""
    return _along(x.ndim, axis)(x, index)


def _along(ndim: int, axis: int) -> Gather:
    return Gather((axis,), batch=axis, behind=ndim - 1 - axis)


class Positions(Primitive):
    """Indices that an order gives: uint32, and no derivative."""

    flat = True
    axis: int

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[None]:
        return [None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[None]:
        return [None]

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return type(self)(self.axis + 1)(x)  # type: ignore[call-arg]


class ArgReduce(Positions):
    """The index of one element along an axis, which the result lacks.

    ``replaces(emit, new, best)`` says whether a later element wins; NaN always wins, the
    first one.
    """

    family = "argreduce"
    shared = True
    predicate: ClassVar[str] = ""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return (*x.shape[: self.axis], *x.shape[self.axis + 1 :]), dt.uint32

    def replaces(self, emit: Any, new: Any, best: Any) -> Any:
        """A bool: whether ``new``, which comes later, is to replace ``best``."""
        wins = emit.compare(self.predicate, new, best)
        if not new.dtype.is_inexact:
            return wins
        from_nan = emit.compare("ne", best, best)
        is_nan = emit.compare("ne", new, new)
        return emit.logical_and(emit.logical_or(wins, is_nan), emit.logical_not(from_nan))


@dataclass(frozen=True)
class ArgMax(ArgReduce):
    """The first index of the largest element."""

    predicate = "gt"
    axis: int


@dataclass(frozen=True)
class ArgMin(ArgReduce):
    """The first index of the smallest element."""

    predicate = "lt"
    axis: int


@dataclass(frozen=True)
class ArgSort(Positions):
    """Indices that sort an axis, equal elements in their order; NaN last."""

    family = "ordering"
    shared = True
    axis: int

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, dt.uint32


@dataclass(frozen=True)
class ArgSelect(Positions):
    """Indices of the ``count`` largest or smallest elements of an axis, in ascending order.

    They are the last or first ``count`` of :class:`ArgSort`.  With ``rest`` the indices of all
    other elements stand in front of the largest or behind the smallest, in ascending order, and
    next to them the chosen one that a sort would put there.
    """

    family = "ordering"
    shared = True
    axis: int
    count: int
    largest: bool
    rest: bool = False

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        size = x.shape[self.axis] if self.rest else self.count
        return (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :]), dt.uint32

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return ArgSelect(self.axis + 1, self.count, self.largest, self.rest)(x)


@dataclass(frozen=True)
class Sort(Primitive):
    """The elements along an axis in ascending order, NaN last."""

    family = "ordering"
    shared = True
    axis: int

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        order = ArgSort(self.axis)
        rank = order(order(node.inputs[0]))
        return [take_along(cotangents[0], rank, self.axis)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [take_along(tangents[0], ArgSort(self.axis)(node.inputs[0]), self.axis)]

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return Sort(self.axis + 1)(x)


@dataclass(frozen=True)
class SortPart(Primitive):
    """Elements of the sorted axis from one place to another (excluded); no others are sorted."""

    family = "ordering"
    shared = True
    sizes = frozenset({"places"})
    axis: int
    places: tuple[int, int]

    @property
    def size_values(self) -> tuple[int, ...]:
        return self.places

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        size = self.places[1] - self.places[0]
        return (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :]), x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        along = _along(x.ndim, self.axis)
        return along.vjp(along(x, self._places(node)), cotangents, wanted)[:1]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [take_along(tangents[0], self._places(node), self.axis)]

    def _places(self, node: Node) -> Node:
        """Where the elements come from."""
        starts = tuple(self.places[0] if i == self.axis else 0 for i in range(node.ndim))
        return Slice(starts, (1,) * node.ndim, node.shape)(ArgSort(self.axis)(node.inputs[0]))

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return SortPart(self.axis + 1, self.places)(x)
