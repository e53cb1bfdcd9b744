"""Upsample: change the number of positions by interpolation."""

from __future__ import annotations

from typing import Literal

import mlx.core as mx
from mlx.nn._checks import need_arrays
from mlx.nn.layers._interpolation import interpolate, positions_after, resampled
from mlx.nn.layers.base import Module

Scales = tuple[float, ...]


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
    if all(scale == int(scale) for scale in scale_factor):
        for axis, scale in enumerate(scale_factor, 1):
            positions_after(x.shape[axis], scale)
            x = mx.repeat(x, int(scale), axis=axis)
        return x
    axes = [
        ("nearest", positions_after(size, scale), 0.0, 0.0, 0.0)
        for size, scale in zip(x.shape[1:-1], scale_factor, strict=True)
    ]
    if mx.issubdtype(x.dtype, mx.inexact):
        return resampled(x, axes)
    for axis, nearest in enumerate(axes, 1):
        places = mx.arange(x.shape[axis], dtype=mx.float64).reshape(1, -1, 1)
        x = mx.take(x, resampled(places, [nearest]).flatten().astype(mx.int32), axis=axis)
    return x


def upsample_linear(
    x: mx.array, scale_factor: Scales, align_corners: bool = False, antialias: bool = False
) -> mx.array:
    """Interpolate positions of ``(N, positions..., C)`` linearly.

    >>> from mlx.nn.layers.upsample import upsample_linear
    >>> upsample_linear(mx.array([[[0.0], [4.0]]]), (2.0,)).flatten().tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    _check_scales(x, scale_factor)
    return interpolate(x, scale_factor, align_corners, antialias, "linear")


def upsample_cubic(
    x: mx.array, scale_factor: Scales, align_corners: bool = False, antialias: bool = False
) -> mx.array:
    """Interpolate positions of ``(N, positions..., C)`` with the cubic kernel of Keys 1981.

    >>> from mlx.nn.layers.upsample import upsample_cubic
    >>> upsample_cubic(mx.ones((1, 2, 1)), (2.0,)).shape
    (1, 4, 1)
    """
    _check_scales(x, scale_factor)
    return interpolate(x, scale_factor, align_corners, antialias, "cubic")


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
        need_arrays("Upsample", x)
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
