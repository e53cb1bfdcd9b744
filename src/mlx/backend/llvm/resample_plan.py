"""The commands of resampling: blocks of lines, tables of weights, and which kernel."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from mlx.backend.llvm import caches
from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.along import split_rows
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.resample import LEADING, ResampleSpec
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import float_bits
from mlx.backend.llvm.windows import plan_windows
from mlx.base.dtype import Dtype, dtype_named
from mlx.primitives.resample import Band, ends_of, table

_MOST, _LEAST = 1 << 15, 1 << 12
"""Elements of a line that are computed at once; of one that is divided among tasks, at least."""


def plan_resample(
    primitive: Any,
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The command of a resampling, or of the derivative of one that picks."""
    if len(inputs) > 1:
        return plan_windows(primitive, inputs, outputs, workers)
    (x,), (out,) = inputs, outputs
    if not prod(out.shape):
        return []
    *leading, last = (table(axis) for axis in primitive.axes)
    dtype, channels, rows = dtype_named(out.dtype), out.shape[-1], prod(out.shape[:-2])
    block = _block(rows, len(last), channels, workers)
    blocks = -(-len(last) // block)
    spans = [_span(last[at : at + block]) for at in range(0, len(last), block)]
    spec = _spec(primitive, x, out, block)
    each = split_rows(rows * blocks, block * channels, workers)
    area = spec.area(prod(_most(b) for b in leading), max(b - a for a, b in spans), block, channels)
    batch, *strides, step, turn = (s * dtype.size for s in x.strides)
    consts = [rows * blocks, each, blocks, block, len(last), channels, float_bits(primitive.scale)]
    consts += [step, turn, *x.pointer.consts, *out.pointer.consts, *scratch(area * workers).consts]
    at = LEADING + 3 * len(leading)
    tables = [bound for span in spans for bound in span]
    consts += [area, at, at + len(tables), batch]
    tables += _words(last, dtype)
    for bands, stride in zip(leading, strides, strict=True):
        consts += [len(bands), stride, at + len(tables)]
        tables += _words(bands, dtype)
    flops = 2 * prod(out.shape) * (_most(last) + prod(_most(b) for b in leading))
    touched = (prod(x.shape) + prod(out.shape)) * dtype.size
    tasks = -(-rows * blocks // each)
    return [Command(spec, [*consts, *tables], tasks, "Resample", touched, flops)]


def _block(rows: int, line: int, channels: int, workers: int) -> int:
    """Positions of a line that are computed at once."""
    parts = max(-(-line * channels // _MOST), -(-4 * workers // rows) if workers > 1 else 1)
    return min(line, max(-(-line // parts), -(-_LEAST // channels)))


def _span(bands: Sequence[Band]) -> tuple[int, int]:
    """The elements that positions are made of."""
    used = [(start, start + len(weights)) for start, weights in bands if weights]
    return (min(a for a, _ in used), max(b for _, b in used)) if used else (0, 0)


def _most(bands: Sequence[Band]) -> int:
    return max((len(weights) for _, weights in bands), default=0)


def _words(bands: Sequence[Band], dtype: Dtype) -> list[int]:
    """For each position its first element, how many, and where its weights lie; the weights."""
    heads: list[int] = []
    weights: list[int] = []
    bits = float_bits if accumulator(dtype).size == 8 else _single_bits
    for start, band in bands:
        heads += [start, len(band), 3 * len(bands) + len(weights)]
        weights += [bits(weight) for weight in band]
    return heads + weights


def _single_bits(number: float) -> int:
    return int(struct.unpack("<i", struct.pack("<f", number))[0])


def _spec(primitive: Any, x: Operand, out: Operand, block: int) -> ResampleSpec:
    dtype, channels = dtype_named(out.dtype), out.shape[-1]
    *leading, last = (table(axis) for axis in primitive.axes)
    lanes = host().vector_bytes // accumulator(dtype).size
    apart = x.strides[-1] != 1 and channels != 1
    dense = not apart and (x.strides[-2] == channels or x.shape[-2] == 1)
    moved = any(start != i or weights != (1.0,) for i, (start, weights) in enumerate(last))
    around = caches.overflows((prod(x.shape) + prod(out.shape)) * dtype.size)
    aligned = not (block * channels * dtype.size % 64 or out.pointer.offset % 64)
    whole = channels % lanes == 0
    stream = around and aligned and channels * dtype.size % 64 == 0 and (dense or whole)
    scaled, fold = primitive.scale != 1, primitive.fold
    lines, taps = prod(_most(bands) for bands in leading), _most(last)
    before, after = ends_of(primitive.axes[-1])
    near = lines * taps * after <= (lines + 1) * before + (taps + 1) * after
    near = near and moved and whole and not apart
    return ResampleSpec(
        out.dtype, len(leading), moved, whole, dense, apart, scaled, stream, near, fold
    )
