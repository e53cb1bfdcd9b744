"""Upsample: change the number of positions by interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import mlx.core as mx
from mlx.nn.layers.base import Module

Scales = tuple[float, ...]


def _target(size: int, scale: float) -> int:
    """Return the number of positions after scaling."""
    target = int(scale * size)
    if target < 1:
        raise ValueError(f"[Upsample] scale {scale} leaves nothing of a dimension of size {size}.")
    return target


def _check_scales(x: mx.array, scales: Scales) -> None:
    if len(scales) != x.ndim - 2:
        raise ValueError("A scale needs to be provided for each spatial dimension")


def upsample_nearest(x: mx.array, scale_factor: Scales) -> mx.array:
    """Repeat (or skip) positions of ``(N, positions..., C)``.

    >>> from mlx.nn.layers.upsample import upsample_nearest
    >>> upsample_nearest(mx.array([[[1], [2]]]), (2.0,)).flatten().tolist()
    [1, 1, 2, 2]
    """
    _check_scales(x, scale_factor)
    for axis, scale in enumerate(scale_factor, 1):
        size = x.shape[axis]
        target = _target(size, scale)
        if scale == int(scale):
            x = mx.repeat(x, int(scale), axis=axis)
        else:
            x = mx.take(x, mx.array(_nearest(size, target)), axis=axis)
    return x


def _nearest(size: int, target: int) -> list[int]:
    """Return for each new position the one that it repeats."""
    if target < size:
        return [i * size // target for i in range(target)]
    # The nearest centre, of two equally near the even one.
    return [_rounded((2 * i + 1) * size - target, 2 * target) for i in range(target)]


def _rounded(numerator: int, denominator: int) -> int:
    """The integer nearest to a fraction, of two the even one."""
    whole, rest = divmod(2 * numerator + denominator, 2 * denominator)
    return whole - (rest == 0 and whole % 2)


def _triangle(distance: mx.array) -> mx.array:
    return mx.maximum(1 - distance, 0)


def _keys_cubic(a: float) -> Callable[[mx.array], mx.array]:
    """Return the convolution kernel of Keys 1981 with parameter `a`, of radius 2."""

    def kernel(d: mx.array) -> mx.array:
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = a * (((d - 5) * d + 8) * d - 4)
        return mx.where(d <= 1, near, mx.where(d < 2, far, 0))

    return kernel


def _interpolate(
    x: mx.array,
    axis: int,
    scale: float,
    align_corners: bool,
    antialias: bool,
    kernel: tuple[Callable[[mx.array], mx.array], int],
) -> mx.array:
    """Interpolate along one axis with a (kernel function, radius)."""
    size = x.shape[axis]
    target = _target(size, scale)
    if align_corners:
        position = mx.arange(target) * ((size - 1) / max(target - 1, 1))
    else:
        offset = ((target - 1) / scale - size + 1) / 2
        position = mx.arange(target) / scale - offset
    weigh, radius = kernel
    # Antialiasing widens the kernel to the distance of the new positions.
    width = max(1.0, 1 / scale) if antialias else 1.0
    reach = math.ceil(radius * width)
    index = mx.floor(position)[:, None] + mx.arange(1 - reach, reach + 1)
    weight = weigh(mx.abs(index - position[:, None]) / width)
    if antialias:
        weight = mx.where((index >= 0) & (index < size), weight, 0)
        weight = weight / mx.sum(weight, axis=1, keepdims=True)
    index = mx.clip(index, 0, size - 1).astype(mx.int32)
    trailing = (1,) * (x.ndim - axis - 1)
    result = mx.array(0.0)
    for tap in range(2 * reach):
        result = result + mx.take(x, index[:, tap], axis=axis) * weight[:, tap].reshape(
            target, *trailing
        )
    return result


def _separable(
    x: mx.array,
    scales: Scales,
    align_corners: bool,
    antialias: bool,
    kernel: tuple[Callable[[mx.array], mx.array], int],
) -> mx.array:
    _check_scales(x, scales)
    if antialias and align_corners:
        raise ValueError(
            "[Upsample] antialias=True with align_corners=True is not supported. "
            "Use align_corners=False for antialiased interpolation."
        )
    for axis, scale in enumerate(scales, 1):
        x = _interpolate(x, axis, scale, align_corners, antialias, kernel)
    return x


def upsample_linear(
    x: mx.array, scale_factor: Scales, align_corners: bool = False, antialias: bool = False
) -> mx.array:
    """Interpolate positions of ``(N, positions..., C)`` linearly.

    >>> from mlx.nn.layers.upsample import upsample_linear
    >>> upsample_linear(mx.array([[[0.0], [4.0]]]), (2.0,)).flatten().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    return _separable(x, scale_factor, align_corners, antialias, (_triangle, 1))


def upsample_cubic(
    x: mx.array, scale_factor: Scales, align_corners: bool = False, antialias: bool = False
) -> mx.array:
    """Interpolate positions of ``(N, positions..., C)`` with the cubic kernel of Keys 1981.

    >>> from mlx.nn.layers.upsample import upsample_cubic
    >>> upsample_cubic(mx.ones((1, 2, 1)), (2.0,)).shape
    (1, 4, 1)
    """
    kernel = _keys_cubic(-0.5 if antialias else -0.75)
    return _separable(x, scale_factor, align_corners, antialias, (kernel, 2))


class Upsample(Module):
    """Scale the positions of ``(N, positions..., C)`` by `scale_factor` (one, or one an axis).

    `mode` is "nearest", "linear" or "cubic". `align_corners` keeps the first and last position;
    `antialias` widens the kernel where positions become fewer.

    Raises ValueError for another mode, an input without positions or another number of scales.

    >>> nn.Upsample(2, mode="linear")(mx.ones((1, 4, 4, 3))).shape
    (1, 8, 8, 3)
    """

    def __init__(
        self,
        scale_factor: float | tuple[float, ...],
        mode: Literal["nearest", "linear", "cubic"] = "nearest",
        align_corners: bool = False,
        antialias: bool = False,
    ) -> None:
        super().__init__()
        if mode not in ("nearest", "linear", "cubic"):
            raise ValueError(f"[Upsample] Got unsupported upsampling algorithm: {mode}")
        self.scale_factor: float | tuple[float, ...]
        if isinstance(scale_factor, (list, tuple)):
            self.scale_factor = tuple(map(float, scale_factor))
        else:
            self.scale_factor = float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.antialias = antialias

    def _extra_repr(self) -> str:
        return (
            f"scale_factor={self.scale_factor}, mode={self.mode!r}, "
            f"align_corners={self.align_corners}"
        )

    def _scales(self, x: mx.array) -> Scales:
        dims = x.ndim - 2
        if dims <= 0:
            raise ValueError(
                "[Upsample] The input should have at least 1 spatial dimension "
                f"which means it should be at least 3D but {x.ndim}D was provided"
            )
        if not isinstance(self.scale_factor, tuple):
            return (self.scale_factor,) * dims
        if len(self.scale_factor) != dims:
            raise ValueError(
                "[Upsample] One scale per spatial dimension is required but "
                f"scale_factor={self.scale_factor} and the number of spatial "
                f"dimensions were {dims}"
            )
        return self.scale_factor

    def __call__(self, x: mx.array) -> mx.array:
        scales = self._scales(x)
        if self.mode == "linear":
            return upsample_linear(x, scales, self.align_corners, self.antialias)
        if self.mode == "cubic":
            return upsample_cubic(x, scales, self.align_corners, self.antialias)
        if self.antialias:
            raise ValueError(
                "[Upsample] Antialiasing is not supported for nearest neighbor upsampling"
            )
        return upsample_nearest(x, scales)
