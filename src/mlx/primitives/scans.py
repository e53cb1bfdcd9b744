"""The scan family: folds that keep every intermediate result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, full
from mlx.primitives.elementwise import Conjugate, GreaterEqual, cast, where
from mlx.primitives.reductions import highest, lowest
from mlx.primitives.transcendental import Exp
from mlx.primitives.views import Concatenate, Slice


class Scan(Primitive):
    """A carried loop along an axis: ``carry = combine(emit, carry, x...)``, starting from
    ``identity(dtype)``; every carry is a result.

    ``reverse`` runs from the end.  Not ``inclusive``: element i holds the carry before x[i].
    float16 and bfloat16 carry float32 and round what they store.
    """

    by_types = True
    family = "scan"
    shared = True
    axis: int
    reverse: bool
    inclusive: bool

    def infer(self, *inputs: Node) -> tuple[Shape, Dtype]:
        return inputs[0].shape, inputs[0].dtype

    def identity(self, dtype: Dtype) -> Any:
        raise TypeError(f"[{self.name}] declares no identity.")

    def combine(self, emit: Any, carry: Any, *values: Any) -> Any:
        raise TypeError(f"[{self.name}] declares no combine rule.")

    def vmap(self, size: int, *inputs: Node) -> Node:
        return type(self)(self.axis + 1, self.reverse, self.inclusive)(*inputs)  # type: ignore[call-arg]

    def delayed(self, x: Node, first: Any = 0) -> Node:
        """The previous element at each place, in the scan's direction; ``first`` at its start."""
        return _shift(x, self.axis, -1 if self.reverse else 1, first)

    def advanced(self, x: Node) -> Node:
        """The next element at each place; 0 at the scan's end."""
        return _shift(x, self.axis, 1 if self.reverse else -1, 0)


def _shift(x: Node, axis: int, by: int, fill: Any) -> Node:
    """Move elements along an axis by one place, with ``fill`` at the free end."""
    size = x.shape[axis]
    if size == 0:
        return x
    starts = tuple(1 if (a == axis and by < 0) else 0 for a in range(x.ndim))
    shape = (*x.shape[:axis], size - 1, *x.shape[axis + 1 :])
    rest = Slice(starts, (1,) * x.ndim, shape)(x)
    edge = full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), x.dtype, fill)
    return Concatenate(axis)(edge, rest) if by > 0 else Concatenate(axis)(rest, edge)


@dataclass(frozen=True)
class CumSum(Scan):
    """Sums of what came so far."""

    axis: int
    reverse: bool = False
    inclusive: bool = True

    def identity(self, dtype: Dtype) -> Any:
        return 0

    def combine(self, emit: Any, carry: Any, x: Any) -> Any:
        return emit.add(carry, x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [CumSum(self.axis, not self.reverse, self.inclusive)(cotangents[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


@dataclass(frozen=True)
class Recurrence(Scan):
    """The linear recurrence ``y[i] = a[i] * y[i-1] + b[i]``, with 0 before the first."""

    axis: int
    reverse: bool = False
    inclusive: bool = True

    def identity(self, dtype: Dtype) -> Any:
        return 0

    def combine(self, emit: Any, carry: Any, a: Any, b: Any) -> Any:
        return emit.add(emit.mul(a, carry), b)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        a, b = (_conjugate(x) for x in node.inputs)
        back = Recurrence(self.axis, not self.reverse)(self.advanced(a), cotangents[0])
        return [back * _conjugate(self.delayed(node)) if wanted[0] else None, back]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        a, _ = node.inputs
        of_a, drive = tangents
        if of_a is not None:
            term = of_a * self.delayed(node)
            drive = term if drive is None else term + drive
        return [None if drive is None else self(a, drive)]


def _conjugate(x: Node) -> Node:
    return Conjugate()(x) if x.dtype.is_complex else x


class RecurrentScan(Scan):
    """A scan whose derivative is a linear recurrence: ``dy[i] = keep[i] dy[i-1] + gain[i] dx[i]``.

    A member says ``slopes(x, y)``: keep and gain of the inclusive scan.
    """

    def slopes(self, x: Node, y: Node) -> tuple[Node, Node]:
        raise TypeError(f"[{self.name}] declares no slopes.")

    def _inclusive(self, node: Node) -> Node:
        (x,) = node.inputs
        if self.inclusive:
            return node
        return type(self)(self.axis, self.reverse, True)(x)  # type: ignore[call-arg]

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        keep, gain = self.slopes(node.inputs[0], self._inclusive(node))
        (cotangent,) = cotangents
        if not self.inclusive:
            cotangent = self.advanced(cotangent)
        keep = self.advanced(_conjugate(keep))
        back = Recurrence(self.axis, not self.reverse)(keep, cotangent)
        return [back * _conjugate(gain)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        keep, gain = self.slopes(node.inputs[0], self._inclusive(node))
        out = Recurrence(self.axis, self.reverse)(keep, gain * tangents[0])
        return [out if self.inclusive else self.delayed(out)]


@dataclass(frozen=True)
class CumProd(RecurrentScan):
    """Products of what came so far."""

    axis: int
    reverse: bool = False
    inclusive: bool = True

    def identity(self, dtype: Dtype) -> Any:
        return 1

    def combine(self, emit: Any, carry: Any, x: Any) -> Any:
        return emit.mul(carry, x)

    def slopes(self, x: Node, y: Node) -> tuple[Node, Node]:
        return x, self.delayed(y, 1)


class CumulativeExtremum(RecurrentScan):
    """The largest or smallest so far: it takes its derivative from where it came from, the
    last of equals."""

    def slopes(self, x: Node, y: Node) -> tuple[Node, Node]:
        before = self.delayed(y, self.identity(y.dtype))
        gain = cast(self.replaces(x, before), x.dtype)
        return 1 - gain, gain

    def replaces(self, x: Node, before: Node) -> Node:
        raise TypeError(f"[{self.name}] does not say when an element replaces the carry.")


@dataclass(frozen=True)
class CumMax(CumulativeExtremum):
    """The largest so far; NaN wins."""

    axis: int
    reverse: bool = False
    inclusive: bool = True

    def identity(self, dtype: Dtype) -> Any:
        return lowest(dtype)

    def combine(self, emit: Any, carry: Any, x: Any) -> Any:
        return emit.maximum(carry, x)

    def replaces(self, x: Node, before: Node) -> Node:
        return GreaterEqual()(x, before)


@dataclass(frozen=True)
class CumMin(CumulativeExtremum):
    """The smallest so far; NaN wins."""

    axis: int
    reverse: bool = False
    inclusive: bool = True

    def identity(self, dtype: Dtype) -> Any:
        return highest(dtype)

    def combine(self, emit: Any, carry: Any, x: Any) -> Any:
        return emit.minimum(carry, x)

    def replaces(self, x: Node, before: Node) -> Node:
        return GreaterEqual()(before, x)


@dataclass(frozen=True)
class LogCumSumExp(RecurrentScan):
    """log of the sums of exponentials so far."""

    axis: int
    reverse: bool = False
    inclusive: bool = True

    def identity(self, dtype: Dtype) -> Any:
        return lowest(dtype)

    def combine(self, emit: Any, carry: Any, x: Any) -> Any:
        return emit.call("logaddexp", carry, x)

    def slopes(self, x: Node, y: Node) -> tuple[Node, Node]:
        before = self.delayed(y, self.identity(y.dtype))
        return _share(before, y), _share(x, y)


def _share(part: Node, whole: Node) -> Node:
    """e^(part - whole), which is 0 for a part that is -inf."""
    if part.dtype.is_complex:
        return Exp()(part - whole)
    empty = part <= full(part.shape, part.dtype, lowest(part.dtype))
    return where(empty, 0, Exp()(part - whole))
