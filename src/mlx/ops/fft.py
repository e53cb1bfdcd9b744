"""mx.fft: discrete Fourier transforms, in complex64.

``norm`` says where 1/n goes: ``backward`` (the inverse), ``forward``, or ``ortho`` (its root
to both).  Raises ValueError for unknown norms, repeated axes and sizes below 1.

>>> import mlx.core as mx
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.ops.joining import roll
from mlx.ops.operands import array_node, axes_of, integer, integers, number
from mlx.ops.shape import narrow
from mlx.primitives.base import full_like, iota
from mlx.primitives.elementwise import Less, cast, where
from mlx.primitives.fourier import Fourier, FourierToReal, RealFourier
from mlx.primitives.views import Embed

Axes = Sequence[int] | None


def _resized(x: Node, axis: int, size: int) -> Node:
    """Cut, or padded with zeros, at the end of an axis."""
    if size <= x.shape[axis]:
        return narrow(x, axis, 0, size)
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return Embed((0,) * x.ndim, (1,) * x.ndim, shape)(x)


def _scale(norm: str, count: int, inverse: bool) -> float:
    if norm not in ("backward", "ortho", "forward"):
        raise ValueError(f"[fft] Invalid norm {norm!r}: use backward, ortho or forward.")
    if norm == "ortho":
        return 1 / math.sqrt(count)
    return 1 / count if (norm == "backward") == inverse else 1.0


def _arguments(
    a: array, s: Sequence[int] | None, axes: Axes, last_is_half: bool = False
) -> tuple[Node, tuple[int, ...], list[int]]:
    """The node, the axes and the sizes of the transform."""
    x = array_node("fft", a)
    if axes is None and s is not None:
        raise ValueError("[fft] Give axes along with s.")
    over = axes_of("fft", axes, x.ndim)
    sizes = [x.shape[i] for i in over]
    if last_is_half and over:
        sizes[-1] = 2 * (sizes[-1] - 1)
    if s is not None:
        sizes = [*integers("fft", "a size", s)]
        if len(sizes) != len(over):
            raise ValueError(f"[fft] Sizes {sizes} and axes {over} differ in number.")
    if any(n < 1 for n in sizes):
        raise ValueError(f"[fft] Invalid output size {sizes}: needs at least 1.")
    return x, over, sizes


def _complex(a: array, s: Any, axes: Axes, norm: str, inverse: bool) -> array:
    x, over, sizes = _arguments(a, s, axes)
    if not over:
        return wrap(x)
    for axis, size in zip(over, sizes, strict=True):
        x = _resized(x, axis, size)
    out = Fourier(over, inverse)(cast(x, dt.complex64 if x.dtype.is_complex else dt.float32))
    return wrap(_times(out, _scale(norm, math.prod(sizes), inverse)))


def _times(x: Node, factor: float) -> Node:
    return x if factor == 1 else x * factor


def _from_real(a: array, s: Any, axes: Axes, norm: str) -> array:
    x, over, sizes = _arguments(a, s, axes)
    if not over:
        return wrap(x)
    for axis, size in zip(over, sizes, strict=True):
        x = _resized(x, axis, size)
    out = RealFourier(over[-1])(cast(x, dt.float32))
    if len(over) > 1:
        out = Fourier(over[:-1], False)(out)
    return wrap(_times(out, _scale(norm, math.prod(sizes), False)))


def _to_real(a: array, s: Any, axes: Axes, norm: str) -> array:
    x, over, sizes = _arguments(a, s, axes, last_is_half=True)
    if not over:
        return wrap(x)
    for axis, size in zip(over[:-1], sizes[:-1], strict=True):
        x = _resized(x, axis, size)
    x = cast(_resized(x, over[-1], sizes[-1] // 2 + 1), dt.complex64)
    if len(over) > 1:
        x = Fourier(over[:-1], True)(x)
    out = FourierToReal(over[-1], sizes[-1])(x)
    return wrap(_times(out, _scale(norm, math.prod(sizes), True)))


def _one(n: int | None, axis: int) -> tuple[list[int] | None, list[int]]:
    return (None if n is None else [n]), [axis]


def fft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The transform along an axis, cut or padded to n.

    >>> mx.fft.fft(mx.array([1.0, 0.0]))
    array([1+0j, 1+0j], dtype=complex64)
    """
    return _complex(a, *_one(n, axis), norm, False)


def ifft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The inverse of :func:`fft`."""
    return _complex(a, *_one(n, axis), norm, True)


def fft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform over two axes."""
    return _complex(a, s, axes, norm, False)


def ifft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of :func:`fft2`."""
    return _complex(a, s, axes, norm, True)


def fftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Axes = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform over axes, by default all."""
    return _complex(a, s, axes, norm, False)


def ifftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Axes = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of :func:`fftn`."""
    return _complex(a, s, axes, norm, True)


def rfft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The transform of real numbers, without the half that is conjugate: n // 2 + 1 numbers.

    >>> mx.fft.rfft(mx.array([1.0, 0.0, 0.0]))
    array([1+0j, 1+0j], dtype=complex64)
    """
    return _from_real(a, *_one(n, axis), norm)


def irfft(
    a: array, n: int | None = None, axis: int = -1, norm: str = "backward", stream: Any = None
) -> array:
    """The inverse of :func:`rfft`: n real numbers, by default an even number."""
    return _to_real(a, *_one(n, axis), norm)


def rfft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform of real numbers over two axes; the last one is halved."""
    return _from_real(a, s, axes, norm)


def irfft2(
    a: array,
    s: Sequence[int] | None = None,
    axes: Sequence[int] = (-2, -1),
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of :func:`rfft2`."""
    return _to_real(a, s, axes, norm)


def rfftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Axes = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The transform of real numbers over axes; the last one is halved."""
    return _from_real(a, s, axes, norm)


def irfftn(
    a: array,
    s: Sequence[int] | None = None,
    axes: Axes = None,
    norm: str = "backward",
    stream: Any = None,
) -> array:
    """The inverse of :func:`rfftn`."""
    return _to_real(a, s, axes, norm)


def fftfreq(n: int, d: float = 1.0, stream: Any = None) -> array:
    """The frequencies of a transform of n samples at distance d.

    >>> mx.fft.fftfreq(4)
    array([0, 0.25, -0.5, -0.25], dtype=float32)
    """
    size = _count("fftfreq", n)
    index = iota((size,), 0, dt.int64)
    wrapped = where(Less()(index, full_like(index, (size + 1) // 2)), index, index - size)
    return wrap(cast(wrapped, dt.float32) * _resolution("fftfreq", size, d))


def rfftfreq(n: int, d: float = 1.0, stream: Any = None) -> array:
    """The frequencies of a transform of n real samples at distance d."""
    size = _count("rfftfreq", n)
    index = iota((size // 2 + 1,), 0, dt.float32)
    return wrap(index * _resolution("rfftfreq", size, d))


def _resolution(name: str, n: int, d: float) -> float:
    """The distance of frequencies."""
    distance = number(name, "d", d)
    if distance == 0:
        raise ValueError(f"[{name}] The distance d of samples must not be 0.")
    return 1 / (n * distance)


def _count(name: str, n: int) -> int:
    size = integer(name, "n", n)
    if size < 1:
        raise ValueError(f"[{name}] n must be at least 1, got {n}.")
    return size


def _shifted(a: array, axes: Axes, sign: int) -> array:
    x = array_node("fftshift", a)
    over = axes_of("fftshift", axes, x.ndim)
    half = [sign * (x.shape[i] // 2) for i in over]
    return roll(a, half, list(over)) if over else wrap(x)


def fftshift(a: array, axes: Axes = None, stream: Any = None) -> array:
    """Frequency 0 moved to the middle of the axes.

    >>> mx.fft.fftshift(mx.arange(5))
    array([3, 4, 0, 1, 2], dtype=int32)
    """
    return _shifted(a, axes, 1)


def ifftshift(a: array, axes: Axes = None, stream: Any = None) -> array:
    """The inverse of :func:`fftshift`."""
    return _shifted(a, axes, -1)
