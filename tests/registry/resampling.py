"""Samples of resampling and of windows' largest elements."""

from __future__ import annotations

from collections.abc import Sequence

import tests.reference.resampling
from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.primitives.resample import Axis, Resample
from mlx.primitives.windows import WindowMax, WindowMaxPick, WindowMaxShare
from tests.registry.kinds import Sample
from tests.registry.structured import FLOATS, given, numbers

_DOUBLE: Axis = ("linear", 4, 8, 0.5, -0.25, 1.0, False)
_SHRUNK: Axis = ("cubic_within", 7, 3, 7 / 3, 2 / 3, 7 / 3, False)
_STRETCHED: Axis = ("cubic", 3, 5, 0.5, 0.0, 1.0, False)
_WITHIN: Axis = ("linear_within", 5, 2, 2.5, 0.75, 2.5, False)
_PICKED: Axis = ("nearest", 5, 3, 0.0, 0.0, 0.0, False)
_WINDOWS: Axis = ("window", 6, 3, 2.0, -1.0, 3.0, False)
_GAPS: Axis = ("window", 7, 2, 4.0, 0.0, 2.0, False)
_ALL: Axis = ("window", 4, 1, 1.0, 0.0, 4.0, False)


def _adjoint(axis: Axis) -> Axis:
    return (*axis[:-1], True)


def _resampled(
    axes: Sequence[Axis], channels: int = 3, scale: float = 1.0, dtype: dt.Dtype = dt.float32
) -> Sample:
    sizes = [axis[2] if axis[-1] else axis[1] for axis in axes]
    made = Resample(tuple(axes), scale)
    return Sample(made, (numbers(2, *sizes, channels, dtype=dtype),))


_ = tests.reference.resampling  # it registers the references


@given("Resample")
def _resamplings() -> list[Sample]:
    return [
        *[_resampled((_DOUBLE, _STRETCHED), dtype=d) for d in FLOATS],
        *[_resampled((_WINDOWS, _GAPS), 17, 1 / 9, d) for d in FLOATS],
        _resampled((_SHRUNK,), 1),
        _resampled((_WITHIN, _PICKED, _DOUBLE), 2, 0.5),
        _resampled((_adjoint(_GAPS), _PICKED), 80),
        _resampled((_adjoint(_DOUBLE), _adjoint(_SHRUNK)), 16),
        _resampled((_ALL,), 0),
        _resampled((("linear", 0, 0, 1.0, 0.0, 1.0, False),)),
    ]


def _windows(axes: Sequence[Axis], channels: int, dtype: dt.Dtype = dt.float32) -> Sample:
    """Of a few whole numbers, for the sake of equal ones."""
    values = numbers(2, *(axis[1] for axis in axes), channels, dtype=dtype)
    return Sample(WindowMax(tuple(axes)), (values,))


@given("WindowMax")
def _largest() -> list[Sample]:
    return [
        *[_windows((_WINDOWS, _GAPS), 3, d) for d in FLOATS],
        _windows((_ALL,), 17),
        _windows((_GAPS, _WINDOWS, _ALL), 2),
        _windows((_WINDOWS,), 80),
        _windows((_ALL,), 0),
    ]


def _moving(kind: type, axes: Sequence[Axis], channels: int, dtype: dt.Dtype) -> Sample:
    """Linear in the last operand; the elements that equal the largest come from the first."""
    before, after = ([axis[i] for axis in axes] for i in (1, 2))
    moved = after if kind is WindowMaxShare else before
    made = kind(tuple(axes))

    def record(x: Node, moved: Node) -> list[Node]:
        return [made(x, WindowMax(tuple(axes))(x), moved)]

    operands = [
        numbers(2, *sizes, channels, dtype=dtype, seed=i) for i, sizes in enumerate((before, moved))
    ]
    return Sample(made, tuple(operands), record=record)


@given("WindowMaxShare")
def _shares() -> list[Sample]:
    return _both(WindowMaxShare)


@given("WindowMaxPick")
def _picks() -> list[Sample]:
    return _both(WindowMaxPick)


def _both(kind: type) -> list[Sample]:
    return [
        *[_moving(kind, (_WINDOWS, _GAPS), 3, d) for d in FLOATS],
        _moving(kind, (_ALL,), 17, dt.float32),
        _moving(kind, (_GAPS, _WINDOWS, _ALL), 2, dt.float32),
        _moving(kind, (_WINDOWS,), 80, dt.float32),
        _moving(kind, (_WINDOWS,), 0, dt.float32),
    ]
