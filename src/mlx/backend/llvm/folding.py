"""Folds in registers: an accumulator of many lanes, its start, its steps and its end.

The order is the promised one: element k goes to lane k mod (128 bytes of lanes); then the upper
half of the lanes is folded onto the lower until one is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm.expressions import accumulator, accumulator_lanes
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value
from mlx.base import dtype as dt
from mlx.compiler.nest import Reduce


def identity_lane(f: Function, expression: Any) -> Lane:
    """The accumulator of a reduction before its first element."""
    acc = accumulator(expression.dtype)
    narrow = LaneEmitter(f, accumulator_lanes(expression.dtype))
    return narrow.const(expression.primitive.identity(acc), acc)


def fold_lanes(f: Function, combine: Callable[..., Lane], total: Lane) -> Lane:
    """The upper half of the lanes onto the lower, until one is left (in lane 0 of two)."""
    width = int(total.v.type[1 : total.v.type.index(" ")])
    while width > 1:
        half = width // 2
        keep = max(half, 2)
        low = [f.shuffle(p, None, [i % half for i in range(keep)]) for p in total.parts]
        high = [f.shuffle(p, None, [half + i % half for i in range(keep)]) for p in total.parts]
        e = LaneEmitter(f, keep)
        total = combine(e, Lane(total.dtype, *low), Lane(total.dtype, *high))
        width = half
    return total


def slice_lanes(f: Function, v: Value, start: int, width: int) -> Value:
    lanes = int(v.type[1 : v.type.index(" ")])
    return v if lanes == width else f.shuffle(v, None, range(start, start + width))


def fold(e: LaneEmitter, expression: Reduce, total: Lane, lane: Lane, mask: Value | None) -> Lane:
    """The accumulator after a vector of elements; those masked off count as the identity."""
    acc = accumulator(expression.dtype)
    lane = Lane(acc, *lane.parts)
    if mask is not None:
        neutral = e.const(expression.primitive.identity(acc), acc)
        lane = e.select(Lane(dt.bool_, mask), lane, neutral)
    width = accumulator_lanes(expression.dtype)
    narrow = LaneEmitter(e.f, width)
    for start in range(0, e.lanes, width):
        piece = Lane(acc, *[slice_lanes(e.f, p, start, width) for p in lane.parts])
        # The piece first: whether it is NaN is known before the total is.
        total = expression.primitive.combine(narrow, piece, total)
    return total


def regroup(like: list[Lane], flat: list[Value]) -> list[Lane]:
    out, at = [], 0
    for lane in like:
        count = len(lane.parts)
        out.append(Lane(lane.dtype, *flat[at : at + count]))
        at += count
    return out
