"""Samples of indexing, order and random bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.primitives import indexing, ordering, random
from tests.registry.kinds import Sample
from tests.registry.structured import FLOATS, each, given, numbers


def _indices(shape: tuple[int, ...], size: int, dtype: Dtype = dt.int32, seed: int = 0) -> Any:
    low = -size if dtype.is_signed else 0
    return np.random.default_rng(seed).integers(low, size, shape).astype(dtype.numpy)


@given("Gather")
def _gather() -> list[Sample]:
    gather = indexing.Gather
    return [
        *[
            Sample(gather((0,)), (numbers(5, 3, dtype=d), _indices((4,), 5)))
            for d in (*FLOATS, dt.int8, dt.complex64, dt.bool_)
        ],
        Sample(gather((0,)), (numbers(5, 3), _indices((2, 2), 5, dt.uint32))),
        Sample(gather((1,), position=1), (numbers(3, 5, 2), _indices((4,), 5, dt.int64))),
        Sample(gather((0, 2)), (numbers(3, 2, 4), _indices((5,), 3), _indices((5,), 4, seed=1))),
        Sample(gather((1,), batch=1), (numbers(3, 5), _indices((3, 2), 5))),
        Sample(gather((0,), behind=1), (numbers(5, 3), _indices((2, 3), 5))),
        Sample(gather((1,), 1, 0, None, 1), (numbers(2, 5, 3), _indices((2, 4, 3), 5))),
        Sample(gather((0,), window=(2,)), (numbers(5, 3), np.array([0, 3, 1], np.int32))),
        Sample(gather((0,)), (numbers(5), np.array(2, np.int32))),
        Sample(gather((0,)), (numbers(5), np.zeros((0,), np.int32))),
    ]


@given("ScatterSum")
def _scatter_sum() -> list[Sample]:
    scatter = indexing.ScatterSum
    return [
        *[
            Sample(scatter((0,), (5, 3)), (numbers(4, 3, dtype=d), _indices((4,), 5)))
            for d in (dt.float32, dt.float64, dt.int32, dt.complex64)
        ],
        Sample(scatter((1,), (3, 5), 1), (numbers(3, 2), _indices((3, 2), 5))),
        Sample(scatter((0,), (5, 3), behind=1), (numbers(2, 3), _indices((2, 3), 5))),
        Sample(
            scatter((0, 1), (3, 4, 2)),
            (numbers(6, 2), _indices((6,), 3), _indices((6,), 4, seed=1)),
        ),
        Sample(scatter((0,), (5, 3), 0, (2,)), (numbers(3, 2, 3), np.array([0, 3, 1], np.int32))),
    ]


@given("Scatter")
def _scatter() -> list[Sample]:
    out = []
    for mode in indexing.MODES:
        make = indexing.Scatter
        holed = numbers(4, 3, seed=1)
        holed[1, 1] = 0
        repeated = np.array([0, 4, 0, -5], np.int32)
        updates = holed if mode == "prod" else numbers(4, 3, seed=1)
        out += [
            Sample(make((0,), mode), (numbers(5, 3), updates, repeated)),
            Sample(
                make((0,), mode),
                (numbers(5, 3, dtype=dt.int32), numbers(4, 3, dtype=dt.int32), repeated),
            ),
            Sample(
                make((1,), mode, 1), (numbers(3, 5), numbers(3, 2, seed=1), _indices((3, 2), 5))
            ),
            Sample(
                make((0,), mode, behind=1),
                (numbers(5, 3), numbers(2, 3, seed=1), _indices((2, 3), 5)),
            ),
        ]
    start = np.array([1], np.int32)
    out.append(
        Sample(indexing.Scatter((0,), "set", 0, (2,)), (numbers(5, 3), numbers(1, 2, 3), start))
    )
    return out


@given("SliceUpdate")
def _slice_update() -> list[Sample]:
    return _slices(indexing.SliceUpdate)


@given("SliceAdd")
def _slice_add() -> list[Sample]:
    return _slices(indexing.SliceAdd)


def _slices(update: Any) -> list[Sample]:
    return [
        *[
            Sample(update((1, 0), (1, 2)), (numbers(4, 6, dtype=d), numbers(2, 3, dtype=d, seed=1)))
            for d in (dt.float32, dt.float64, dt.int8)
        ],
        Sample(update((5,), (-2,)), (numbers(6), numbers(3, seed=1))),
        Sample(update((0,), (1,)), (numbers(6), numbers(0))),
        Sample(update((0,), (1,)), (numbers(6), numbers(6, seed=1))),
    ]


_ORDERED = (*FLOATS, dt.int32, dt.uint8, dt.int64)


@given("ArgMax")
def _argmax() -> list[Sample]:
    return _ordered(ordering.ArgMax)


@given("ArgMin")
def _argmin() -> list[Sample]:
    return _ordered(ordering.ArgMin)


@given("Sort")
def _sort() -> list[Sample]:
    return _ordered(ordering.Sort)


@given("ArgSort")
def _argsort() -> list[Sample]:
    return _ordered(ordering.ArgSort)


@given("ArgSelect")
def _argselect() -> list[Sample]:
    select = ordering.ArgSelect
    return [
        *each(select(1, 5, True), 3, 41, dtypes=_ORDERED),
        *each(select(1, 5, False), 3, 41, dtypes=_ORDERED),
        *each(select(0, 17, True), 17, 3, dtypes=(dt.float32, dt.int16)),
        *each(select(0, 4, False, rest=True), 17, 3, dtypes=(dt.float32, dt.int16)),
        *each(select(1, 9, True, rest=True), 2, 70),
    ]


@given("SortPart")
def _sort_part() -> list[Sample]:
    part = ordering.SortPart
    return [
        *each(part(1, (3, 9)), 3, 41, dtypes=_ORDERED),
        *each(part(0, (16, 17)), 17, 3, dtypes=(dt.float32, dt.int16)),
        *each(part(1, (0, 5)), 2, 70),
    ]


def _ordered(make: Any) -> list[Sample]:
    return [
        *each(make(1), 3, 41, dtypes=_ORDERED),
        *each(make(0), 17, 3, dtypes=(dt.float32, dt.int16)),
        *each(make(0), 1),
    ]


@given("Threefry")
def _threefry() -> list[Sample]:
    words = tuple(np.random.default_rng(i).integers(0, 2**32, 9, dtype=np.uint32) for i in range(4))
    return [Sample(random.Threefry(word), words) for word in (0, 1)]
