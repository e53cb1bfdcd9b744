"""The largest element of each window of positions, and its derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.resample import Axis, resampled_shape
from mlx.primitives.views import reshape


class _OfWindows(Primitive):
    """On ``(N, positions..., C)``; axes are those of :class:`Resample`, of kind "window"."""

    by_types = True
    family = "resample"
    shared = True
    axes: tuple[Axis, ...]

    def _check(self, x: Node) -> Shape:
        """The shape of the windows' values."""
        for kind, _, _, *numbers, adjoint in self.axes:
            whole = all(number == int(number) for number in numbers) and numbers[0] >= 1
            if kind != "window" or adjoint or not whole:
                raise ValueError(f"[{self.name}] Axes must be windows, got {self.axes}.")
        return resampled_shape(self.axes, x)

    def vmap(self, size: int, *inputs: Node) -> Node:
        found = self(*[reshape(x, (size * x.shape[1], *x.shape[2:])) for x in inputs])
        return reshape(found, (size, inputs[0].shape[1], *found.shape[1:]))


@dataclass(frozen=True)
class WindowMax(_OfWindows):
    """The largest element of each window, -inf where it is empty; NaN wins.  Equal ones share the
    derivative."""

    fold: ClassVar[str] = "max"
    scale: ClassVar[float] = 1.0
    axes: tuple[Axis, ...]

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return self._check(x), x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [WindowMaxShare(self.axes)(node.inputs[0], node, cotangents[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [WindowMaxPick(self.axes)(node.inputs[0], node, tangents[0])]


class _Picking(_OfWindows):
    """Of x, its windows' largest elements, and what is moved along them; linear in the last.

    By its other inputs it is constant (almost everywhere).
    """

    by_types = False

    def _adjoint(self) -> Primitive:
        raise TypeError(f"[{self.name}] declares no adjoint.")

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, best, _ = node.inputs
        return [None, None, self._adjoint()(x, best, cotangents[0]) if wanted[2] else None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        x, best, _ = node.inputs
        return [None if tangents[2] is None else self(x, best, tangents[2])]


@dataclass(frozen=True)
class WindowMaxShare(_Picking):
    """For each element of x the sum of its shares in the windows whose largest it equals: the
    cotangent there by how many equal it."""

    axes: tuple[Axis, ...]

    def infer(self, x: Node, best: Node, cotangent: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        shape = self._check(x)
        if best.shape != shape or cotangent.shape != shape:
            raise ValueError(f"[{self.name}] {self} does not fit {[x, best, cotangent]}.")
        return x.shape, x.dtype

    def _adjoint(self) -> Primitive:
        return WindowMaxPick(self.axes)


@dataclass(frozen=True)
class WindowMaxPick(_Picking):
    """For each window the mean of the tangents where x equals its largest element."""

    axes: tuple[Axis, ...]

    def infer(self, x: Node, best: Node, tangent: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        shape = self._check(x)
        if best.shape != shape or tangent.shape != x.shape:
            raise ValueError(f"[{self.name}] {self} does not fit {[x, best, tangent]}.")
        return shape, x.dtype

    def _adjoint(self) -> Primitive:
        return WindowMaxShare(self.axes)
