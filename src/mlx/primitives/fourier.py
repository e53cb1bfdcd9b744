"""Discrete Fourier transforms by SciPy, without scaling factors; leading axes are batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.base.lazy import numpy as np
from mlx.graph.node import Node, Shape
from mlx.primitives import pocketfft
from mlx.primitives.base import full_like, iota
from mlx.primitives.bitwise import BitwiseOr
from mlx.primitives.complex import Real
from mlx.primitives.elementwise import Equal, cast, where
from mlx.primitives.library import Library
from mlx.primitives.views import Embed


@dataclass(frozen=True)
class Fourier(Library):
    """The transform over axes to complex numbers, of these or of real ones: of exponentials with
    minus, or plus for ``inverse``.

    Its adjoint is the transform with the other sign.
    """

    overwrites = True
    axes: tuple[int, ...]
    inverse: bool

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, dt.complex64

    def host(self, workers: int, out: np.ndarray, *arrays: np.ndarray) -> None:
        pocketfft.complex_transform(out, arrays[0], self.axes, self.inverse, workers)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return Fourier(tuple(a + 1 for a in self.axes), self.inverse)(x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        out = Fourier(self.axes, not self.inverse)(cotangents[0])
        return [out if node.inputs[0].dtype.is_complex else Real()(out)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


@dataclass(frozen=True)
class RealFourier(Library):
    """The first half of the transform of real numbers along an axis."""

    axis: int

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        half = x.shape[self.axis] // 2 + 1
        return (*x.shape[: self.axis], half, *x.shape[self.axis + 1 :]), dt.complex64

    def host(self, workers: int, out: np.ndarray, *arrays: np.ndarray) -> None:
        pocketfft.from_real(out, arrays[0], self.axis, workers)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return RealFourier(self.axis + 1)(x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        whole = Embed((0,) * x.ndim, (1,) * x.ndim, x.shape)(cotangents[0])
        return [Real()(Fourier((self.axis,), inverse=True)(whole))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


@dataclass(frozen=True)
class FourierToReal(Library):
    """Real numbers from the first half of their transform along an axis; ``n`` of them."""

    sizes = frozenset({"n"})
    axis: int
    n: int

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return (*x.shape[: self.axis], self.n, *x.shape[self.axis + 1 :]), dt.float32

    def host(self, workers: int, out: np.ndarray, *arrays: np.ndarray) -> None:
        pocketfft.to_real(out, arrays[0], self.axis, workers)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return FourierToReal(self.axis + 1, self.n)(x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        """All but the first, and for even n the last, stand for two of the whole transform."""
        out = RealFourier(self.axis)(cotangents[0])
        index = iota(out.shape, self.axis, dt.int32)
        once = Equal()(index, full_like(index, 0))
        if self.n % 2 == 0:
            once = BitwiseOr()(once, Equal()(index, full_like(index, self.n // 2)))
        weight = where(once, 1, full_like(cast(index, dt.float32), 2))
        return [out * cast(weight, dt.complex64)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]
