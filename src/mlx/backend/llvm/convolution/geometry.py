"""Where the elements lie that a convolution multiplies: phases, taps and runs.

Spatial axes are always three, outer ones of size 1 where there are fewer.  Where the input is
spread (zeros between its elements), positions of the result with the same remainder see the
same taps; each such *phase* is a convolution without zeros.  A *run* is what is copied at once:
neighbouring taps of the last axis with all their channels where these lie side by side, else
the channels of one tap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any

from mlx.backend.llvm.gemm.operand import round_up

Three = tuple[int, int, int]


def three(values: Sequence[int], fill: int) -> Three:
    """One number for each of three axes."""
    padded = (*(fill,) * (3 - len(values)), *values)
    return padded[0], padded[1], padded[2]


@dataclass(frozen=True, slots=True)
class Line:
    """One axis of a phase: ``count`` positions first, first + every, ... of the result; they see
    the input at ``position * stride + offset`` through these taps."""

    first: int
    every: int
    count: int
    stride: int
    taps: tuple[tuple[int, int], ...]
    """(number of the tap, its offset in the input)."""


def lines(
    places: int, kernel: int, stride: int, low: int, dilation: int, spread: int
) -> list[Line]:
    """The phases of one axis."""
    every = spread // gcd(stride, spread)
    out = []
    for first in range(min(every, places)):
        taps = []
        for tap in range(kernel):
            at, rest = divmod(first * stride + tap * dilation - low, spread)
            if rest == 0:
                taps.append((tap, at))
        count = -(-(places - first) // every)
        out.append(Line(first, every, count, every * stride // spread, tuple(taps)))
    return out


@dataclass(frozen=True, slots=True)
class Phase:
    """A convolution without zeros between its elements: one line an axis."""

    axes: tuple[Line, Line, Line]

    @property
    def counts(self) -> Three:
        a, b, c = (line.count for line in self.axes)
        return a, b, c

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the result."""
        return all(line.every == 1 for line in self.axes)


def phases_of(primitive: Any, places: Sequence[int], kernel: Sequence[int]) -> Iterator[Phase]:
    """The phases of a Convolution; a Correlation has one."""
    spread = getattr(primitive, "spread", (1,) * len(kernel))
    axes = zip(
        three(places, 1), three(kernel, 1), three(primitive.strides, 1), three(primitive.low, 0),
        three(primitive.dilation, 1), three(spread, 1), strict=True,
    )  # fmt: skip
    for a, b, c in product(*(lines(*axis) for axis in axes)):
        yield Phase((a, b, c))


@dataclass(frozen=True, slots=True)
class Run:
    """What is copied at once: ``taps`` positions of the last axis, ``channels`` of each."""

    at: Three
    taps: int
    channel: int
    channels: int
    weights: tuple[tuple[Three, int], ...]
    """For each position (the tap, first channel)."""

    @property
    def length(self) -> int:
        return self.taps * self.channels

    def depth(self, unit: int) -> int:
        """Groups of ``unit`` elements that the run fills, the last one perhaps in part."""
        return -(-self.length // unit)


def runs_of(phase: Phase, channels: int, longest: int, side_by_side: bool) -> list[Run]:
    """The runs of a phase in the order of the sum: taps in row-major order, then channels.

    ``longest`` bounds their elements; ``side_by_side``: the last axis' stride is its channels'
    number, so that neighbours make one run.
    """
    out: list[Run] = []
    rows = product(phase.axes[0].taps, phase.axes[1].taps)
    for (tap_z, z), (tap_y, y) in rows:
        for group in _neighbours(phase.axes[2].taps, max(longest // max(channels, 1), 1),
                                 side_by_side):  # fmt: skip
            for start, count in _pieces(channels, longest):
                taps = tuple(((tap_z, tap_y, tap), start) for tap, _ in group)
                out.append(Run((z, y, group[0][1]), len(group), start, count, taps))
    return out


def _neighbours(
    taps: Sequence[tuple[int, int]], most: int, side_by_side: bool
) -> Iterator[list[tuple[int, int]]]:
    """Taps in groups whose offsets follow one another."""
    group: list[tuple[int, int]] = []
    for tap in taps:
        if group and (not side_by_side or len(group) == most or tap[1] != group[-1][1] + 1):
            yield group
            group = []
        group.append(tap)
    if group:
        yield group


def _pieces(channels: int, longest: int) -> Iterator[tuple[int, int]]:
    """(first, number) of channels that fit in a run."""
    each = channels
    if channels > longest:
        each = round_up(-(-channels // -(-channels // longest)), 16)
    for start in range(0, channels, max(each, 1)):
        yield start, min(each, channels - start)


def blocks_of(runs: Sequence[Run], deepest: int, unit: int = 1) -> list[list[Run]]:
    """Runs in blocks of at most ``deepest`` groups of ``unit`` elements; at least one block."""
    total = sum(run.depth(unit) for run in runs)
    fair = -(-total // max(-(-total // deepest), 1))
    out: list[list[Run]] = [[]]
    depth = 0
    for run in runs:
        if depth and (depth >= fair or depth + run.depth(unit) > deepest):
            out.append([])
            depth = 0
        out[-1].append(run)
        depth += run.depth(unit)
    return out


def places_of(primitive: Any, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Spatial sizes of a Convolution's result."""
    axes = zip(
        sizes, primitive.spread, primitive.low, primitive.high, kernel, primitive.dilation,
        primitive.strides, strict=True,
    )  # fmt: skip
    return tuple(
        (((n - 1) * e + 1 if n else 0) + low + high - (k - 1) * d - 1) // s + 1
        for n, e, low, high, k, d, s in axes
    )
