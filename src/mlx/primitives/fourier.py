"""Discrete Fourier transforms by SciPy, without scaling factors; leading axes are batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.base.lazy import numpy as np
from mlx.base.lazy import scipy_module
from mlx.graph.node import Node, Shape
from mlx.primitives.base import full_like, iota
from mlx.primitives.bitwise import BitwiseOr
from mlx.primitives.complex import Real
from mlx.primitives.elementwise import Equal, cast, where
from mlx.primitives.library import Library
from mlx.primitives.views import Embed

PART = 1 << 22
"""Bytes of a result that are transformed at once where SciPy makes a new array of them."""


def _by_parts(transform: Callable[..., Any], out: np.ndarray, x: np.ndarray, axis: int) -> None:
    """Transform parts of the batch one after the other: no second result is held."""
    batch = max((i for i in range(x.ndim) if i != axis), key=lambda i: x.shape[i], default=None)
    if batch is None:
        out[...] = transform(x, axis=axis)
        return
    out, x = np.moveaxis(out, batch, 0), np.moveaxis(x, batch, 0)
    moved = axis + (axis < batch)
    step = max(1, len(out) * PART // max(out.nbytes, 1))
    for start in range(0, len(out), step):
        out[start : start + step] = transform(x[start : start + step], axis=moved)


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

    def host(self, out: np.ndarray, *arrays: np.ndarray) -> None:
        fft = scipy_module("fft")
        np.copyto(out, arrays[0])
        if self.inverse:
            done = fft.ifftn(out, axes=self.axes, norm="forward", overwrite_x=True)
        else:
            done = fft.fftn(out, axes=self.axes, overwrite_x=True)
        if not np.may_share_memory(done, out):
            np.copyto(out, done)

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

    def host(self, out: np.ndarray, *arrays: np.ndarray) -> None:
        _by_parts(scipy_module("fft").rfft, out, arrays[0], self.axis)

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

    def host(self, out: np.ndarray, *arrays: np.ndarray) -> None:
        irfft = partial(scipy_module("fft").irfft, n=self.n, norm="forward")
        _by_parts(irfft, out, arrays[0], self.axis)

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
