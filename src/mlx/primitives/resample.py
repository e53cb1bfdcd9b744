"""Resampling: each position of the result is a weighted sum of neighbouring ones, axis by axis.

Interpolation of any kind, means over windows, and the adjoints of both: what an axis does is a
matrix with a band of few weights a row, said by a few numbers (``Axis``) and worked out by
``table``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.views import reshape

Axis = tuple[str, int, int, float, float, float, bool]
"""Kind, positions before and after, step, origin and width in elements, whether it is the adjoint.

Position i of the result lies at ``i * step + origin``.  "linear" and "cubic" weigh elements by
their distance in units of ``width``, and repeat those at the ends; "linear_within" and
"cubic_within" leave out what lies outside and divide by the sum; "window" adds ``width``
elements from there on; "nearest" picks one (its step and origin follow from the sizes).
"""
Band = tuple[int, tuple[float, ...]]
"""The first element that a position is made of, and the weights from there on."""


@dataclass(frozen=True)
class Resample(Primitive):
    """``(N, positions..., C)`` with each axis of positions resampled, times ``scale``.

    Float16 and bfloat16 are summed in float32 and rounded at the end.  Sums run over the leading
    axes first (in row-major order, the product of their weights each), then along the last one.
    """

    by_types = True
    family = "resample"
    shared = True
    fold: ClassVar[str] = "sum"
    axes: tuple[Axis, ...]
    scale: float

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return resampled_shape(self.axes, x), x.dtype

    def _adjoint(self) -> Resample:
        axes = tuple((*axis[:-1], not axis[-1]) for axis in self.axes)
        return Resample(axes, self.scale)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [self._adjoint()(cotangents[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        flat = reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
        found = self(flat)
        return reshape(found, (*x.shape[:2], *found.shape[1:]))


def ends_of(axis: Axis) -> tuple[int, int]:
    """Positions before and after."""
    _, size, target, *_, adjoint = axis
    return (target, size) if adjoint else (size, target)


def resampled_shape(axes: Sequence[Axis], x: Node) -> Shape:
    """The result's shape.  Raises ValueError where axes don't fit."""
    ends = [ends_of(axis) for axis in axes]
    given = tuple(size for size, _ in ends)
    if not x.dtype.is_float or x.ndim != len(ends) + 2 or x.shape[1:-1] != given:
        raise ValueError(
            f"[resample] Expected floats of shape (N, {', '.join(map(str, given))}, C), "
            f"got {x.dtype.name} {x.shape}."
        )
    return (x.shape[0], *(target for _, target in ends), x.shape[-1])


@lru_cache(1024)
def table(axis: Axis) -> tuple[Band, ...]:
    """The band of every position of the result.  Raises ValueError for an unknown kind."""
    kind, size, target, *_, adjoint = axis
    if kind not in _BANDS or size < 0 or target < 0:
        raise ValueError(f"[resample] There is no axis {axis}.")
    make = _BANDS[kind]
    found = [make(axis, i) if size else _band({}) for i in range(target)]
    return _transposed(found, size) if adjoint else tuple(found)


def _transposed(bands: Sequence[Band], size: int) -> tuple[Band, ...]:
    columns: list[dict[int, float]] = [{} for _ in range(size)]
    for row, (start, weights) in enumerate(bands):
        for k, weight in enumerate(weights, start):
            columns[k][row] = weight
    return tuple(_band(column) for column in columns)


def _band(weights: dict[int, float]) -> Band:
    """Elements and their weights as a band; zeros at its ends are left out."""
    used = [at for at, weight in weights.items() if weight]
    if not used:
        return 0, ()
    first, last = min(used), max(used)
    return first, tuple(weights.get(at, 0.0) for at in range(first, last + 1))


def _window(axis: Axis, i: int) -> Band:
    _, size, _, step, origin, width, _ = axis
    first = int(i * step + origin)
    return _band({at: 1.0 for at in range(max(first, 0), min(first + int(width), size))})


def _nearest(axis: Axis, i: int) -> Band:
    _, size, target, *_ = axis
    if target < size:
        return i * size // target, (1.0,)
    # The nearest centre, of two equally near the even one.
    return _rounded((2 * i + 1) * size - target, 2 * target), (1.0,)


def _rounded(numerator: int, denominator: int) -> int:
    """The integer nearest to a fraction, of two the even one."""
    whole, rest = divmod(2 * numerator + denominator, 2 * denominator)
    return whole - (rest == 0 and whole % 2)


def _interpolated(axis: Axis, i: int) -> Band:
    kind, size, _, step, origin, width, _ = axis
    weigh, radius = _KERNELS[kind]
    within = kind.endswith("_within")
    position = i * step + origin
    reach = math.ceil(radius * width)
    found: dict[int, float] = {}
    for at in range(math.floor(position) + 1 - reach, math.floor(position) + reach + 1):
        inside = min(max(at, 0), size - 1)
        if inside == at or not within:
            found[inside] = found.get(inside, 0.0) + weigh(abs(at - position) / width)
    total = sum(found.values()) if within else 1.0
    return _band({at: weight / total for at, weight in found.items()})


def _triangle(distance: float) -> float:
    return max(1.0 - distance, 0.0)


def _keys_cubic(a: float, d: float) -> float:
    """The convolution kernel of Keys 1981 with parameter ``a``, of radius 2."""
    if d <= 1:
        return ((a + 2) * d - (a + 3)) * d * d + 1
    return a * (((d - 5) * d + 8) * d - 4) if d < 2 else 0.0


_KERNELS = {
    "linear": (_triangle, 1),
    "linear_within": (_triangle, 1),
    "cubic": (lambda d: _keys_cubic(-0.75, d), 2),
    "cubic_within": (lambda d: _keys_cubic(-0.5, d), 2),
}
_BANDS = {"window": _window, "nearest": _nearest} | dict.fromkeys(_KERNELS, _interpolated)
