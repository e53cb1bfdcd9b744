"""Windows of positions that overlap, or leave some out: folds over them and their derivatives.

A window's elements are read where they are, as slices; nothing is copied.  The cotangent of a
position is the sum over the windows that contain it.  Positions of one phase (that many behind
a multiple of the stride) lie at the same places of their windows, so that the sums of each phase
are slices too.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import mlx.core as mx

Size = tuple[int, ...]


def window_counts(positions: Sequence[int], kernel: Size, stride: Size) -> list[int]:
    """How many windows fit, for each axis; none where the window is larger by less than a step.
    Raises ValueError where it is larger by more."""
    counts = [(n - k) // s + 1 for n, k, s in zip(positions, kernel, stride, strict=True)]
    if min(counts) < 0:
        raise ValueError(
            f"[pool] The window {kernel} is larger than the padded input {tuple(positions)}."
        )
    return counts


def window_slices(x: mx.array, kernel: Size, stride: Size) -> list[mx.array]:
    """For each place in a window the ``(N, windows..., C)`` elements there."""
    counts = window_counts(x.shape[1:-1], kernel, stride)
    return [
        x[
            _at(
                *(
                    slice(i, i + (n - 1) * s + 1, s)
                    for i, n, s in zip(at, counts, stride, strict=True)
                )
            )
        ]
        for at in itertools.product(*map(range, kernel))
    ]


def _at(*slices: slice) -> tuple[slice, ...]:
    """An index of the positions alone."""
    return (slice(None), *slices)


@functools.cache
def window_max(kernel: Size, stride: Size) -> Callable[[mx.array], mx.array]:
    """The maximum of each window; equal maxima share its derivative."""

    @mx.custom_function
    def pool(x: mx.array) -> mx.array:
        return functools.reduce(mx.maximum, window_slices(x, kernel, stride))

    def maxima(x: mx.array, output: mx.array) -> list[mx.array]:
        return [s == output for s in window_slices(x, kernel, stride)]

    def ties(found: list[mx.array], dtype: mx.Dtype) -> mx.array:
        return functools.reduce(mx.add, [here.astype(dtype) for here in found])

    @pool.jvp
    def pool_jvp(x: mx.array, tangent: mx.array) -> mx.array:
        found = maxima(x, pool(x))
        slices = window_slices(tangent, kernel, stride)
        picked = [mx.where(here, s, 0) for here, s in zip(found, slices, strict=True)]
        return functools.reduce(mx.add, picked) / ties(found, x.dtype)

    @pool.vjp
    def pool_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        share = _Margins(cotangent / ties(maxima(x, output), x.dtype), x, kernel, stride)
        best = _Margins(output, x, kernel, stride)
        return _summed(x, kernel, stride, lambda here, at: mx.where(here == best[at], share[at], 0))

    return pool


@functools.cache
def window_mean(kernel: Size, stride: Size) -> Callable[[mx.array], mx.array]:
    """The mean of each window."""
    scale = 1 / functools.reduce(lambda a, b: a * b, kernel)

    @mx.custom_function
    def pool(x: mx.array) -> mx.array:
        return functools.reduce(mx.add, window_slices(x, kernel, stride)) * scale

    @pool.vjp
    def pool_vjp(x: mx.array, cotangent: mx.array, output: mx.array) -> mx.array:
        share = _Margins(cotangent * scale, x, kernel, stride)
        return _summed(x, kernel, stride, lambda here, at: share[at])

    return pool


class _Margins:
    """Values of windows as seen from the positions of a phase, with zeros where no window is."""

    def __init__(self, values: mx.array, x: mx.array, kernel: Size, stride: Size) -> None:
        self.before = [-(-k // s) - 1 for k, s in zip(kernel, stride, strict=True)]
        most = [-(-n // s) for n, s in zip(x.shape[1:-1], stride, strict=True)]
        after = [max(0, m - n) for m, n in zip(most, values.shape[1:-1], strict=True)]
        self.values = mx.pad(values, [(0, 0), *zip(self.before, after, strict=True), (0, 0)])

    def __getitem__(self, at: list[tuple[int, int]]) -> mx.array:
        """The windows so many before each position: (how many, positions) for each axis."""
        starts = [before - shift for before, (shift, _) in zip(self.before, at, strict=True)]
        slices = (slice(b, b + n) for b, (_, n) in zip(starts, at, strict=True))
        return self.values[_at(*slices)]


def _summed(
    x: mx.array,
    kernel: Size,
    stride: Size,
    term: Callable[[mx.array, list[tuple[int, int]]], mx.array],
) -> mx.array:
    """For every position the sum of a term over the windows that contain it."""
    total = mx.zeros_like(x)
    for phase in itertools.product(*map(range, map(min, kernel, stride))):
        index = _at(*(slice(a, None, s) for a, s in zip(phase, stride, strict=True)))
        here = x[index]
        shifts = (range(-(-(k - a) // s)) for a, k, s in zip(phase, kernel, stride, strict=True))
        lengths = here.shape[1:-1]
        terms = [
            term(here, list(zip(shift, lengths, strict=True)))
            for shift in itertools.product(*shifts)
        ]
        total[index] = functools.reduce(mx.add, terms)
    return total
