"""Interpolation between positions of ``(N, positions..., C)``."""

from __future__ import annotations

from collections.abc import Sequence

import mlx.core as mx

Axis = tuple[str, int, float, float, float]


def positions_after(size: int, scale: float) -> int:
    """Return the number of positions after scaling."""
    target = int(scale * size)
    if target < 1:
        raise ValueError(f"[Upsample] scale {scale} leaves nothing of a dimension of size {size}.")
    return target


def interpolate(
    x: mx.array, scales: Sequence[float], align_corners: bool, antialias: bool, kind: str
) -> mx.array:
    """Scale every axis of positions; ``kind`` is "linear" or "cubic"."""
    if antialias and align_corners:
        raise ValueError(
            "[Upsample] antialias=True with align_corners=True is not supported. "
            "Use align_corners=False for antialiased interpolation."
        )
    kind += "_within" if antialias else ""
    axes = [
        _axis(size, scale, align_corners, kind)
        for size, scale in zip(x.shape[1:-1], scales, strict=True)
    ]
    return resampled(x.astype(mx.result_type(x, mx.float32)), axes)


def resampled(x: mx.array, axes: Sequence[Axis], scale: float = 1.0) -> mx.array:
    """``mx.fast.resample``, also of complex numbers."""
    if not mx.issubdtype(x.dtype, mx.complexfloating):
        return mx.fast.resample(x, axes, scale)
    real, imag = (
        mx.fast.resample(mx.real(x), axes, scale),
        mx.fast.resample(mx.imag(x), axes, scale),
    )
    return real + 1j * imag


def _axis(size: int, scale: float, align_corners: bool, kind: str) -> Axis:
    target = positions_after(size, scale)
    if align_corners:
        return kind, target, (size - 1) / max(target - 1, 1), 0.0, 1.0
    origin = (size - 1 - (target - 1) / scale) / 2
    # Antialiasing widens the kernel to the distance of the new positions.
    width = max(1.0, 1 / scale) if kind.endswith("_within") else 1.0
    return kind, target, 1 / scale, origin, width
