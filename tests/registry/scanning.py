"""Samples of products and scans."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.primitives import bitwise, products, scans
from tests.registry.kinds import Sample
from tests.registry.structured import FLOATS, each, given, numbers


@given("Prod")
def _prod() -> list[Sample]:
    holed = numbers(4, 6, seed=3)
    holed[0, 2] = holed[1, 1] = holed[1, 4] = 0
    return [
        *each(products.Prod(1), 3, 11, dtypes=(*FLOATS, dt.int32, dt.complex64)),
        *each(products.Prod(0), 5, 3),
        Sample(products.Prod(1), (holed,)),
        *each(products.Prod(1), 0, 4),
    ]


def _all_ways(make: Any, dtypes: tuple = (dt.float32, dt.float64, dt.int32)) -> list[Sample]:
    out = []
    for reverse in (False, True):
        for inclusive in (True, False):
            out += each(make(1, reverse, inclusive), 3, 7, dtypes=dtypes)
            out += each(make(0, reverse, inclusive), 5, 3)
    return [*out, *each(make(0), 1), *each(make(1), 2, 0)]


@given("CumSum")
def _cumsum() -> list[Sample]:
    return _all_ways(scans.CumSum, (*FLOATS, dt.int32, dt.complex64))


@given("CumProd")
def _cumprod() -> list[Sample]:
    holed = numbers(2, 6, seed=3)
    holed[0, 2] = holed[1, 1] = holed[1, 4] = 0
    return [
        *_all_ways(scans.CumProd, (dt.float32, dt.float64, dt.int32, dt.complex64)),
        Sample(scans.CumProd(1), (holed,)),
    ]


@given("CumMax")
def _cummax() -> list[Sample]:
    return _all_ways(scans.CumMax)


@given("CumMin")
def _cummin() -> list[Sample]:
    return _all_ways(scans.CumMin)


@given("LogCumSumExp")
def _logcumsumexp() -> list[Sample]:
    return _all_ways(scans.LogCumSumExp, (dt.float32, dt.float64))


@given("Recurrence")
def _recurrence() -> list[Sample]:
    return [
        Sample(scans.Recurrence(1, reverse), (numbers(3, 5, dtype=d), numbers(3, 5, dtype=d)))
        for reverse in (False, True)
        for d in (dt.float32, dt.float64, dt.complex64)
    ]


@given("Bitcast")
def _bitcast() -> list[Sample]:
    pairs = [
        (dt.float32, dt.int32),
        (dt.int32, dt.float32),
        (dt.uint8, dt.int8),
        (dt.float16, dt.uint16),
        (dt.int16, dt.bfloat16),
        (dt.float64, dt.uint64),
    ]
    return [
        Sample(bitwise.Bitcast(to), (np.abs(numbers(7, dtype=of)),), smooth=False)
        for of, to in pairs
    ]
