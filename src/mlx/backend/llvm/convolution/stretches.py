"""Which positions of a correlation's block see something: stretches that come back regularly.

A block of taps that sees what lies outside the input from many positions leaves these out: their
patches are zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from mlx.backend.llvm.convolution.geometry import Phase, Run, Three, blocks_of, runs_of
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, i64

STRETCH = 9
"""Numbers of a block's entry, in the order of :class:`Stretch`."""

_ALONE = (
    128  # least channels of a tap that is a block by itself, so that ends of lines are left out
)
_EVERYTHING = 1 << 40  # positions
_WORTH = 97  # percent of all positions that are left, at most, where that is worth smaller blocks


@dataclass(frozen=True, slots=True)
class Stretch:
    """Every ``period`` positions ``length`` of them from ``offset`` on; of periods, counted in
    ``lines`` and these in ``planes``, those from a first one to a last one."""

    period: Value
    offset: Value
    length: Value
    lines: Value
    line0: Value
    line1: Value
    planes: Value
    plane0: Value
    plane1: Value


def following_stretch(
    f: Function, s: Stretch, position: Value, end: Value, most: Value
) -> tuple[Value, Value, Value]:
    """From ``position`` on: where a stretch goes on, how much of it (0, or at most ``most``), and
    the position to look at next."""
    period = f.op("udiv", position, s.period)
    inside = f.sub(position, f.mul(period, s.period))
    line = f.op("urem", period, s.lines)
    plane = f.op("urem", f.op("udiv", period, s.lines), s.planes)
    start = f.max(inside, s.offset)
    at = f.add(position, f.sub(start, inside))
    count = f.min(f.sub(f.add(s.offset, s.length), start), f.min(most, f.sub(end, at)))
    there = f.icmp("sgt", count, i64(0))
    for index, first, last in ((line, s.line0, s.line1), (plane, s.plane0, s.plane1)):
        there = f.op("and", there, f.icmp("sge", index, first))
        there = f.op("and", there, f.icmp("slt", index, last))
    skipped = f.mul(f.add(period, i64(1)), s.period)
    return at, f.select(there, count, i64(0)), f.select(there, f.add(at, count), skipped)


def blocks_of_taps(
    phase: Phase, sizes: Three, channels: int, most: int, unit: int, side_by_side: bool
) -> tuple[list[list[Run]], list[int]]:
    """Blocks of runs of at most ``most`` elements, and the table of their entries.

    Taps of one line, or single ones, are a block where that leaves out much.
    """
    counts = phase.counts
    alone = channels >= _ALONE and unit == 1
    runs = runs_of(phase, channels, most, side_by_side and not alone)
    by_place: dict[Sequence[int], list[Run]] = {}
    for run in runs:
        by_place.setdefault(run.at if alone else run.at[:2], []).append(run)
    blocks = [block for group in by_place.values() for block in blocks_of(group, most)]
    ranges = [_seen(phase, sizes, block, unit) for block in blocks]
    lengths = [sum(run.length for run in block) for block in blocks]
    seen = [prod(b - a for a, b in each) for each in ranges]
    work = sum(length * number for length, number in zip(lengths, seen, strict=True))
    if work * 100 > _WORTH * sum(lengths) * prod(counts):
        blocks = blocks_of(runs_of(phase, channels, most, side_by_side), most)
        ranges = [[(0, count) for count in counts]] * len(blocks)
    return blocks, [number for each in ranges for number in _entry(each, counts)]


def _seen(phase: Phase, sizes: Three, block: Sequence[Run], unit: int) -> list[tuple[int, int]]:
    """Of each axis the positions from the first that sees something to the last; all, where
    ``unit`` positions that are multiplied at once would be divided."""
    out = []
    for axis, (line, size) in enumerate(zip(phase.axes, sizes, strict=True)):
        reach = [run.taps - 1 if axis == 2 else 0 for run in block]
        first = -max((run.at[axis] + n) // line.stride for run, n in zip(block, reach, strict=True))
        last = max((size - 1 - run.at[axis]) // line.stride for run in block) + 1
        first, last = max(first, 0), min(last, line.count)
        whole = unit > 1 and (axis == 2 or phase.counts[2] % unit)
        out.append((0, line.count) if whole else (first, max(last, first)))
    return out


def _entry(ranges: Sequence[tuple[int, int]], counts: Sequence[int]) -> list[int]:
    """The numbers of a :class:`Stretch`; whole axes are run together."""
    levels = [((0, 1), 1), *zip(ranges, counts, strict=True)]
    unit = 1
    while len(levels) > 1 and levels[-1][0] == (0, levels[-1][1]):
        unit *= levels.pop()[1]
    if len(levels) == 1:
        unit = _EVERYTHING
    (first, last), count = levels.pop()
    out = [unit * count, unit * first, unit * (last - first)]
    for (first, last), count in [*reversed(levels), ((0, 1), 1), ((0, 1), 1)][:2]:
        out += [count, first, last]
    return out
