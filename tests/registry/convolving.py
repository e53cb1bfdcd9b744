"""Samples of convolutions and correlations."""

from __future__ import annotations

from mlx.base import dtype as dt
from mlx.primitives.convolution import Convolution, Correlation
from tests.registry.kinds import Sample
from tests.registry.structured import FLOATS, given, numbers

Numbers = tuple[int, ...]


def _convolution(
    x: Numbers, w: Numbers, strides: Numbers, low: Numbers, high: Numbers | None = None,
    dilation: Numbers | None = None, spread: Numbers | None = None, groups: int = 1,
    dtype: dt.Dtype = dt.float32,
) -> Sample:  # fmt: skip
    ones = (1,) * len(strides)
    made = Convolution(strides, low, high or low, dilation or ones, spread or ones, groups)
    return Sample(made, (numbers(*x, dtype=dtype), numbers(*w, dtype=dtype, seed=1)))


@given("Convolution")
def _convolutions() -> list[Sample]:
    square = ((2, 4, 5, 3), (4, 3, 2, 3), (1, 1), (1, 0))
    return [
        *[_convolution(*square, dtype=d) for d in FLOATS],
        _convolution((1, 7, 2), (3, 3, 2), (2,), (1,)),
        _convolution((1, 3, 4, 3, 2), (2, 2, 1, 2, 2), (1, 2, 1), (1, 0, 1)),
        _convolution((2, 5, 4, 4), (6, 2, 2, 2), (1, 2), (1, 1), groups=2),
        _convolution((1, 5, 6, 3), (3, 3, 3, 1), (2, 1), (1, 1), groups=3),
        _convolution((1, 5, 6, 4), (4, 3, 2, 2), (1, 1), (1, 1), dilation=(2, 3), groups=2),
        _convolution((1, 6, 3), (6, 3, 1), (1,), (1,), groups=3),
        _convolution((1, 4, 3, 2), (3, 3, 2, 2), (1, 1), (2, 1), (1, 2), spread=(2, 3)),
        _convolution((1, 4, 3, 2), (2, 3, 3, 1), (3, 2), (2, 2), spread=(2, 3), groups=2),
        _convolution((1, 3, 2), (2, 2, 2), (1,), (5,)),
        _convolution((1, 8, 2), (2, 2, 2), (1,), (-2,), (-1,)),
        _convolution((1, 3, 2), (2, 2, 2), (1,), (0,), spread=(100,)),
        _convolution((1, 9, 2), (2, 2, 2), (50,), (0,)),
        _convolution((0, 4, 2), (3, 2, 2), (1,), (0,)),
        _convolution((2, 4, 0), (3, 2, 0), (1,), (0,)),
    ]


def _correlation(
    x: Numbers, y: Numbers, kernel: Numbers, strides: Numbers, low: Numbers,
    dilation: Numbers | None = None, groups: int = 1, dtype: dt.Dtype = dt.float32,
) -> Sample:  # fmt: skip
    made = Correlation(strides, low, dilation or (1,) * len(strides), groups, kernel)
    return Sample(made, (numbers(*x, dtype=dtype), numbers(*y, dtype=dtype, seed=1)))


@given("Correlation")
def _correlations() -> list[Sample]:
    square = ((2, 4, 5, 3), (2, 4, 4, 4), (3, 2), (1, 1), (1, 0))
    return [
        *[_correlation(*square, dtype=d) for d in FLOATS],
        _correlation((1, 7, 2), (1, 4, 3), (3,), (2,), (1,)),
        _correlation((2, 5, 4, 4), (2, 6, 3, 6), (2, 2), (1, 2), (1, 1), groups=2),
        _correlation((1, 5, 6, 3), (1, 3, 6, 3), (3, 3), (2, 1), (1, 1), groups=3),
        _correlation((1, 9, 4), (1, 7, 4), (2,), (1,), (1,), (3,), groups=2),
        _correlation((1, 6, 3), (1, 6, 6), (3,), (1,), (1,), groups=3),
        _correlation((1, 3, 4, 3, 2), (1, 3, 2, 3, 2), (2, 1, 2), (1, 2, 1), (1, 0, 1)),
        _correlation((1, 3, 2), (1, 12, 2), (2,), (1,), (5,)),
        _correlation((0, 4, 2), (0, 3, 3), (2,), (1,), (0,)),
    ]
