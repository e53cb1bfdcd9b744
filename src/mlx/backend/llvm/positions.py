"""The position of an element along a loop, as a number: what iota computes."""

from __future__ import annotations

from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, lane_consts, vector
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype


def _register(dtype: Dtype) -> Dtype:
    """The integers to count in: 32 bits hold the low bits of any position."""
    return dt.int32 if dtype.is_integer and dtype.size <= 4 else dt.int64


def lane_steps(e: LaneEmitter, step: Value, dtype: Dtype) -> Value:
    """What each lane adds to the first one's position; the same in all of a loop."""
    f = e.f
    if _register(dtype) is dt.int32:
        step = f.cast("trunc", step, "i32")
    ramp = lane_consts(vector(e.lanes, step.type), range(e.lanes))
    return f.mul(ramp, f.splat(step, e.lanes))


def positions(e: LaneEmitter, first: Value, steps: Value | None, dtype: Dtype) -> Lane:
    """The numbers from a position (an i64) on, or that one in every lane."""
    f = e.f
    if steps is None:
        return e.cast(Lane(dt.int64, f.splat(first, e.lanes)), dtype)
    wide = _register(dtype)
    if wide is dt.int32:
        first = f.cast("trunc", first, "i32")
    return e.cast(Lane(wide, f.add(f.splat(first, e.lanes), steps)), dtype)
