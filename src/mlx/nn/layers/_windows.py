"""Folds over windows of positions."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import mlx.core as mx
from mlx.nn.layers._interpolation import Axis, resampled

Size = tuple[int, ...]


def _counts(positions: Sequence[int], kernel: Size, stride: Size, padding: Size) -> list[int]:
    """How many windows fit, for each axis; none where the window is larger by less than a step.
    Raises ValueError where it is larger by more."""
    padded = [n + 2 * p for n, p in zip(positions, padding, strict=True)]
    counts = [(n - k) // s + 1 for n, k, s in zip(padded, kernel, stride, strict=True)]
    if min(counts) < 0:
        raise ValueError(
            f"[pool] The window {kernel} is larger than the padded input {tuple(padded)}."
        )
    return counts


def _axes(x: mx.array, kernel: Size, stride: Size, padding: Size) -> list[Axis]:
    counts = _counts(x.shape[1:-1], kernel, stride, padding)
    return [
        ("window", count, float(s), float(-p), float(k))
        for count, k, s, p in zip(counts, kernel, stride, padding, strict=True)
    ]


def window_max(x: mx.array, kernel: Size, stride: Size, padding: Size) -> mx.array:
    """The maximum of each window; equal maxima share its derivative."""
    axes = _axes(x, kernel, stride, padding)
    if mx.issubdtype(x.dtype, mx.floating):
        return mx.fast.resample_max(x, axes)
    if any(padding):
        widths = [(0, 0), *((p, p) for p in padding), (0, 0)]
        x = mx.pad(x, widths, constant_values=-float("inf"))
    counts = [axis[1] for axis in axes]
    if 0 in counts:
        return mx.zeros((x.shape[0], *counts, x.shape[-1]), x.dtype)
    slices = [
        x[
            (
                slice(None),
                *(
                    slice(i, i + (n - 1) * s + 1, s)
                    for i, n, s in zip(at, counts, stride, strict=True)
                ),
            )
        ]
        for at in itertools.product(*map(range, kernel))
    ]
    return functools.reduce(mx.maximum, slices)


def window_mean(x: mx.array, kernel: Size, stride: Size, padding: Size) -> mx.array:
    """The mean of each window; padding counts as zeros."""
    if not mx.issubdtype(x.dtype, mx.inexact):
        x = x.astype(mx.float32)
    return resampled(x, _axes(x, kernel, stride, padding), 1 / math.prod(kernel))
