"""Strided layouts whose axes may be split: where each element of a view lies in its storage.

Each logical axis is a list of factors (size, stride), outermost first, so that a reshape of a
strided array is still a layout as long as sizes divide one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

Shape = tuple[int, ...]
Factors = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """``element(i0, i1, ...)`` lies at ``offset`` plus the sum of factor index times stride."""

    axes: tuple[Factors, ...]
    offset: int = 0

    @property
    def shape(self) -> Shape:
        return tuple([f[0][0] if len(f) == 1 else _elements(f) for f in self.axes])

    def transpose(self, axes: Sequence[int]) -> Layout:
        return Layout(tuple(self.axes[a] for a in axes), self.offset)

    def broadcast(self, shape: Shape, axes: Sequence[int]) -> Layout:
        """Axis i becomes axis axes[i] of ``shape``; new or stretched axes have stride 0."""
        out: list[Factors] = [((n, 0),) for n in shape]
        for factors, axis in zip(self.axes, axes, strict=True):
            if _elements(factors) == shape[axis]:
                out[axis] = factors
        return Layout(tuple(out), self.offset)

    def slice(self, starts: Shape, steps: Shape, shape: Shape) -> Layout | None:
        """None where a split axis would be cut."""
        offset, out = self.offset, []
        for factors, start, step, size in zip(self.axes, starts, steps, shape, strict=True):
            whole = _elements(factors)
            if start == 0 and step == 1 and size == whole:
                out.append(factors)
                continue
            factors = merge(factors)
            if size == 1 and len(factors) > 1:
                offset += _locate(factors, start)
                out.append(((1, 0),))
                continue
            if len(factors) > 1:
                return None
            (_, stride), *_ = factors or ((1, 0),)
            offset += start * stride
            out.append(((size, stride * step),))
        return Layout(tuple(out), offset)

    def reshape(self, shape: Shape) -> Layout | None:
        """None where sizes do not divide one another."""
        if 0 in shape:
            return contiguous(shape)
        pending = list(merge(tuple(f for factors in self.axes for f in factors)))[::-1]
        out: list[Factors] = []
        for size in reversed(shape):
            factors: list[tuple[int, int]] = []
            while size > 1:
                n, stride = pending.pop(0)
                if size % n == 0:
                    factors.append((n, stride))
                    size //= n
                elif n % size == 0:
                    factors.append((size, stride))
                    pending.insert(0, (n // size, stride * size))
                    size = 1
                else:
                    return None
            out.append(tuple(reversed(factors)))
        return Layout(tuple(reversed(out)), self.offset)

    def strides(self) -> tuple[int, ...] | None:
        """One stride an axis; None where an axis needs more than one."""
        out = []
        for factors in self.axes:
            merged = merge(factors)
            if len(merged) > 1:
                return None
            out.append(merged[0][1] if merged else 0)
        return tuple(out)

    def is_contiguous(self) -> bool:
        """Whether it covers consecutive elements in row-major order."""
        expected = 1
        for factors in reversed(self.axes):
            for n, stride in reversed(factors):
                if n != 1 and stride != expected:
                    return n == 0
                expected *= n
        return True


def _elements(factors: Factors) -> int:
    return factors[0][0] if len(factors) == 1 else prod([n for n, _ in factors])


def merge(factors: Factors) -> Factors:
    """The same axis with as few factors as possible."""
    out: list[tuple[int, int]] = []
    for n, stride in factors:
        if n == 1:
            continue
        if out and out[-1][1] == n * stride:
            out[-1] = (out[-1][0] * n, stride)
        else:
            out.append((n, stride))
    return tuple(out)


def _locate(factors: Factors, index: int) -> int:
    offset = 0
    for n, stride in reversed(factors):
        offset += (index % n) * stride
        index //= n
    return offset


def contiguous(shape: Shape) -> Layout:
    """The row-major layout of a shape."""
    out: list[Factors] = []
    stride = 1
    for n in reversed(shape):
        out.append(((n, stride),))
        stride *= n
    return Layout(tuple(reversed(out)))


def strided(shape: Shape, strides: Sequence[int], offset: int = 0) -> Layout:
    return Layout(tuple(((n, s),) for n, s in zip(shape, strides, strict=True)), offset)
