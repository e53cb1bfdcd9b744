"""Fourier transforms of sizes that are products of small primes.

A transform runs over vectors: each lane holds a transform of its own.  Lanes are neighbours
across the axis, rows, or, where there are too few of those, parts of one long transform: n = a b
elements are b transforms of size a over elements b apart, factors, and a transforms of size b
(Bailey 1990, "FFTs in external or hierarchical memory").
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.along import Along, View, along
from mlx.backend.llvm.fourier.kernel import LANES, FourierSpec, scratch_bytes
from mlx.base.dtype import dtype_named
from mlx.base.lazy import numpy as np

LONGEST = 2048
"""Elements of a transform that is computed at once: two copies of 16 fit the second-level cache."""
SHORTEST = 256
"""Elements from which a transform with few neighbours is divided."""
_RADICES = (8, 4, 2, 3, 5)


def plan_fourier(
    primitive: Any,
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command] | None:
    """Commands of a complex transform; None where a size has large prime factors."""
    (x,), (out,) = inputs, outputs
    if any(_split(int(x.shape[axis])) is None for axis in primitive.axes):
        return None
    commands: list[Command] = []
    for axis in primitive.axes:
        form = _Form(primitive.inverse, x.dtype == "float32", int(x.shape[axis]))
        commands += _transform(along(axis, [x, out]), form, scratch, workers)
        x = out
    return commands


def plan_real_fourier(
    primitive: Any,
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command] | None:
    """Commands of the first half of a transform of real numbers, or None."""
    (x,), (out,) = inputs, outputs
    axis = primitive.axis
    if _split(int(x.shape[axis])) is None:
        return None
    form = _Form(False, True, int(out.shape[axis]))
    return _transform(along(axis, [x, out]), form, scratch, workers)


@dataclass(frozen=True)
class _Form:
    """What a transform takes and gives: ``kept`` elements of the result."""

    inverse: bool
    real: bool
    kept: int
    whole: int = 0
    """If not 0, its elements are multiplied by powers of a root of this order."""


def radices(n: int) -> list[int] | None:
    """Factors of n among those that butterflies are written for, large ones first."""
    found: list[int] = []
    for radix in _RADICES:
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return found if n == 1 else None


@lru_cache(maxsize=256)
def _split(n: int) -> tuple[int, int] | None:
    """n as a product of two sizes near its root, neither too long; (n, 1) for n short."""
    if radices(n) is None:
        return None
    root = math.isqrt(n)
    small = next(a for a in range(root, 0, -1) if n % a == 0)
    large = n // small
    return (large, small) if large <= LONGEST else None


def _transform(view: Along, form: _Form, scratch: Any, workers: int) -> list[Command]:
    n, rows = int(view.size), view.rows  # int: a template holds for one length
    if not n or not rows:
        return []
    first, second = _split(n) or (n, 1)
    if n <= LONGEST and (rows >= LANES or n < SHORTEST):
        lined = view if view.loops else _with_loop(view)
        return [_command(lined, form, (form.kept, LANES * lined.loops[-1]), scratch, workers)]
    x, out = view.views
    middle = scratch(rows * n * 8)
    strides = _row_major(view.loops, n * 8)
    into = Along(
        (*view.loops, second),
        first,
        (
            View(x.pointer, (*x.strides, x.step), x.step * second),
            View(middle, (*strides, first * 8), 8),
        ),
    )
    back = Along(
        (*view.loops, first),
        second,
        (
            View(middle, (*strides, 8), first * 8),
            View(out.pointer, (*out.strides, out.step), out.step * first),
        ),
    )
    kept = -(-form.kept // first)
    return [
        _command(into, replace(form, whole=n), (first, second), scratch, workers),
        _command(
            back,
            replace(form, real=False),
            (kept, form.kept - first * (kept - 1)),
            scratch,
            workers,
        ),
    ]


def _with_loop(view: Along) -> Along:
    """A single transform as one row."""
    views = tuple(View(v.pointer, (v.step,), v.step) for v in view.views)
    return Along((1,), view.size, views)


def _row_major(loops: Sequence[int], step: int) -> tuple[int, ...]:
    out = []
    for n in reversed(loops):
        out.append(step)
        step *= n
    return tuple(reversed(out))


def _command(
    view: Along, form: _Form, kept: tuple[int, int], scratch: Any, workers: int
) -> Command:
    """Transforms with the last loop in lanes, of which ``kept`` elements are stored, the last
    for so many transforms."""
    outer, count, strides = view.without_last()
    n = int(view.size)
    passes = radices(n)
    assert passes is not None
    sizes = (4 if form.real else 8, 8)
    way_in, way_out = (
        "unit" if stride == size or count == 1 else "rows" if v.step == size else "strided"
        for v, stride, size in zip(view.views, strides, sizes, strict=True)
    )
    whole, inverse = form.whole, form.inverse
    spec = FourierSpec(inverse, outer.depth, (way_in, way_out), whole > 0, form.real)
    blocks = -(-count // LANES)
    each = scratch_bytes(n)
    area = scratch(each * workers)
    shift = (whole.bit_length() + 1) // 2
    consts = [count, blocks, n, len(passes), *area.consts, each, shift]
    consts += [*strides, *kept, *outer.consts]
    consts += [word for p in _passes(n, passes) for word in p]
    consts += _roots(n, n, 1, inverse)
    if whole:
        low = 1 << shift
        consts += _roots(whole, low, 1, inverse)
        consts += _roots(whole, (whole >> shift) + 1, low, inverse)
    flops = 5 * n * max(n.bit_length() - 1, 1) * count * outer.rows
    moved = 2 * n * count * outer.rows * dtype_named("complex64").size
    return Command(spec, consts, outer.rows * blocks, "Fourier", moved, flops)


def _passes(n: int, found: Sequence[int]) -> list[tuple[int, int, int]]:
    """(radix, groups, elements between members of a group) of each pass."""
    out, stride = [], 1
    for radix in found:
        n //= radix
        out.append((radix, n, stride))
        stride *= radix
    return out


@lru_cache(maxsize=64)
def _roots(order: int, count: int, step: int, inverse: bool) -> list[int]:
    """exp(-2 pi i k step / order), k < count (plus for ``inverse``), each as one i64."""
    sign = 2j if inverse else -2j
    angles = np.arange(count) * step % order
    return np.exp(sign * np.pi * angles / order).astype(np.complex64).view(np.int64).tolist()
