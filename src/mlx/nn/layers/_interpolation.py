"""Interpolation between positions of ``(N, positions..., C)``.

Scaled by p / q, position i of the result lies at i * q - origin among elements that lie p apart:
it is a convolution of stride q over the elements with zeros between them, whose kernel holds
the weights at whole distances.  Where p is large, neighbours are gathered instead.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import mlx.core as mx

Kernel = tuple[Callable[[mx.array], mx.array], int]
"""Weights by distance, and the radius from which on they are 0."""

_MOST_PHASES = 16  # p, along one axis
_MOST_TAPS = 16  # of a position, along all axes at once


def positions_after(size: int, scale: float) -> int:
    """Return the number of positions after scaling."""
    target = int(scale * size)
    if target < 1:
        raise ValueError(f"[Upsample] scale {scale} leaves nothing of a dimension of size {size}.")
    return target


def triangle(distance: mx.array) -> mx.array:
    """The kernel of linear interpolation, of radius 1."""
    return mx.maximum(1 - distance, 0)


def keys_cubic(a: float) -> Callable[[mx.array], mx.array]:
    """Return the convolution kernel of Keys 1981 with parameter `a`, of radius 2."""

    def kernel(d: mx.array) -> mx.array:
        near = ((a + 2) * d - (a + 3)) * d * d + 1
        far = a * (((d - 5) * d + 8) * d - 4)
        return mx.where(d <= 1, near, mx.where(d < 2, far, 0))

    return kernel


@dataclass(frozen=True)
class _Line:
    """Interpolation along one axis as a convolution."""

    spread: int
    stride: int
    first: Fraction
    """The distance of the first tap, in elements of the spread input."""
    taps: int
    width: int
    """The distance that counts as 1."""
    edges: tuple[int, int]
    """How often the elements at both ends are repeated; below 0, how many are left out."""
    padding: tuple[int, int]


@functools.lru_cache(1024)
def _line(
    size: int, scale: float, align_corners: bool, antialias: bool, radius: int
) -> _Line | None:
    """The convolution along an axis, or None where neighbours are to be gathered."""
    target = positions_after(size, scale)
    if align_corners and min(size, target) == 1:
        return None
    exact = Fraction(target - 1, size - 1) if align_corners else Fraction(scale)
    ratio = exact.limit_denominator(64)
    if ratio.numerator > _MOST_PHASES or float(ratio) != float(exact):
        return None
    spread, stride = ratio.numerator, ratio.denominator
    origin = Fraction(0)
    if not align_corners:
        origin = Fraction((target - 1) * stride - (size - 1) * spread, 2)
    width = max(spread, stride) if antialias else spread
    first = math.floor(-radius * width - origin) + 1
    last = math.ceil(radius * width - origin) - 1
    behind = (target - 1) * stride + last
    edges, padding = (0, 0), (-first, behind - (size - 1) * spread)
    if not antialias:  # neither end is repeated
        edges = (-first // spread, behind // spread - size + 1)
        padding = (-first % spread, behind % spread)
    return _Line(spread, stride, first + origin, last - first + 1, width, edges, padding)


def interpolate(
    x: mx.array, scales: Sequence[float], align_corners: bool, antialias: bool, kernel: Kernel
) -> mx.array:
    """Scale every axis of positions with a kernel."""
    if antialias and align_corners:
        raise ValueError(
            "[Upsample] antialias=True with align_corners=True is not supported. "
            "Use align_corners=False for antialiased interpolation."
        )
    options = align_corners, antialias
    lines = [_line(n, s, *options, kernel[1]) for n, s in zip(x.shape[1:-1], scales, strict=True)]
    if len(lines) <= 3 and None not in lines and not antialias:
        found = [line for line in lines if line is not None]
        if math.prod(-(-line.taps // line.spread) for line in found) <= _MOST_TAPS:
            return _convolved(x, found, kernel)
    for axis, (line, scale) in enumerate(zip(lines, scales, strict=True), 1):
        if line is None:
            x = _gathered(x, axis, scale, *options, kernel)
        else:
            x = _along(x, axis, line, antialias, kernel)
    return x


def _along(x: mx.array, axis: int, line: _Line, antialias: bool, kernel: Kernel) -> mx.array:
    """The convolution along one axis; antialiased, what lies outside has no weight."""
    shape = x.shape
    flat = x.reshape(math.prod(shape[:axis]), shape[axis], -1)
    result = _convolved(flat, [line], kernel)
    if antialias:
        result = result / _convolved(mx.ones((1, shape[axis], 1)), [line], kernel)
    return result.reshape(*shape[:axis], result.shape[1], *shape[axis + 1 :])


def _convolved(x: mx.array, lines: Sequence[_Line], kernel: Kernel) -> mx.array:
    """The convolution along all axes of positions; every channel is a group."""
    dims, channels = len(lines), x.shape[-1]
    weights = mx.ones((1,) * (dims + 2))
    for axis, line in enumerate(lines, 1):
        distance = mx.arange(line.taps) + float(line.first)
        shape = (1,) * axis + (line.taps,) + (1,) * (dims - axis + 1)
        weights = weights * kernel[0](mx.abs(distance) / line.width).reshape(shape)
    x = _with_edges(x, [line.edges for line in lines])
    low, high = zip(*(line.padding for line in lines), strict=True)
    return mx.conv_general(
        x.astype(mx.result_type(x, mx.float32)),
        mx.broadcast_to(weights, (channels, *weights.shape[1:])),
        stride=[line.stride for line in lines],
        padding=(list(low), list(high)),
        input_dilation=[line.spread for line in lines],
        groups=channels,
    )


def _with_edges(x: mx.array, edges: Sequence[tuple[int, int]], axis: int = 1) -> mx.array:
    """The first and last element of every axis repeated, or so many left out.

    Every part comes from x itself, so that all of them are written where they belong.
    """
    if axis > len(edges):
        return x
    before, after = edges[axis - 1]
    size, at = x.shape[axis], (slice(None),) * axis
    parts = [x[(*at, slice(max(-before, 0), size - max(-after, 0)))]]
    if before > 0:
        parts.insert(0, mx.repeat(x[(*at, slice(0, 1))], before, axis))
    if after > 0:
        parts.append(mx.repeat(x[(*at, slice(size - 1, size))], after, axis))
    return mx.concatenate([_with_edges(part, edges, axis + 1) for part in parts], axis)


def _gathered(
    x: mx.array, axis: int, scale: float, align_corners: bool, antialias: bool, kernel: Kernel
) -> mx.array:
    """Interpolate along one axis: the neighbours of every position, weighted."""
    size = x.shape[axis]
    target = positions_after(size, scale)
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
