"""Piecewise polynomials whose coefficients lie in registers, picked by permutations.

A table of 16 floats is one AVX-512 register, two of AVX2, or four that NEON's table lookup
takes; an entry for each lane costs one to three instructions, a division ten.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

from mlx.backend.llvm.elementary.number import FLOAT, Number, polynomial
from mlx.backend.llvm.elementary.pieces import Pieces
from mlx.backend.llvm.elementary.routine import join, slices
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, lane_consts, lanes_of, vector

ENTRIES = 16

Pick = Callable[[Function, Sequence[float], Value], Value]


def pick(pieces: Pieces, a: Number) -> tuple[list[Number], Number]:
    """Of the piece that holds a >= 0 (floats): the coefficients, and a - center."""
    index = (a + pieces.offset).bits().logical(pieces.shift)
    center, *coefficients = (lookup(row, index) for row in pieces.rows)
    return coefficients, a - center


def piecewise(pieces: Pieces, a: Number) -> Number:
    """The polynomial of the piece that holds a."""
    coefficients, distance = pick(pieces, a)
    return polynomial(distance, coefficients)


def lookup(numbers: Sequence[float], index: Number) -> Number:
    """For each lane the one of 16 floats that the index's four low bits name."""
    f, lanes = index.f, index.lanes
    width, picked = _method()
    if picked is None or not lanes:
        return Number(f, _from_memory(f, numbers, (index & (ENTRIES - 1)).v))
    if lanes < width:
        padded = f.shuffle(index.v, None, [min(i, lanes - 1) for i in range(width)])
        return Number(f, f.shuffle(picked(f, numbers, padded), None, range(lanes)))
    parts = [picked(f, numbers, part) for part in slices(f, index.v, width)]
    return Number(f, join(f, parts))


def _method() -> tuple[int, Pick | None]:
    """The lanes that are looked up at once, and how; 0 where it is done in memory."""
    target = host()
    if target.avx512:
        return 16, _permuted
    if target.has("avx2"):
        return 8, _permuted_halves
    return (4, _bytes) if target.has("neon") else (0, None)


def _permuted(f: Function, numbers: Sequence[float], index: Value) -> Value:
    type = vector(16, FLOAT)
    f.module.declare("llvm.x86.avx512.permvar.sf.512", type, [type, index.type])
    return f.call("llvm.x86.avx512.permvar.sf.512", type, lane_consts(type, numbers), index)


def _permuted_halves(f: Function, numbers: Sequence[float], index: Value) -> Value:
    type = vector(8, FLOAT)
    f.module.declare("llvm.x86.avx2.permps", type, [type, index.type])
    low, high = (
        f.call("llvm.x86.avx2.permps", type, lane_consts(type, half), index)
        for half in (numbers[:8], numbers[8:])
    )
    upper = f.icmp("slt", f.op("shl", index, const(index.type, 28)), const(index.type, 0))
    return f.select(upper, high, low)


def _bytes(f: Function, numbers: Sequence[float], index: Value) -> Value:
    """Four bytes an entry: 4 i, 4 i + 1, 4 i + 2, 4 i + 3."""
    type, bytes = vector(4, FLOAT), vector(16, "i8")
    index = f.op("and", index, const(index.type, ENTRIES - 1))
    places = f.add(f.mul(index, const(index.type, 0x04040404)), const(index.type, 0x03020100))
    parts = [f.bitcast(lane_consts(type, numbers[i : i + 4]), bytes) for i in range(0, ENTRIES, 4)]
    name = "llvm.aarch64.neon.tbl4.v16i8"
    f.module.declare(name, bytes, [bytes] * 5)
    return f.bitcast(f.call(name, bytes, *parts, f.bitcast(places, bytes)), type)


def _from_memory(f: Function, numbers: Sequence[float], index: Value) -> Value:
    """An element, or one a lane, of a table of the module."""
    label = struct.pack(f"{ENTRIES}f", *numbers).hex()
    address = f.module.table(f"pieces_{label}", FLOAT, numbers)
    lanes = lanes_of(index.type)
    if not lanes:
        return f.load(f.gep(address, f.cast("zext", index, "i64"), FLOAT), FLOAT, 4)
    pointers = f.emit(
        f"getelementptr float, ptr {address.ref}, {index.type} {index.ref}", vector(lanes, "ptr")
    )
    return f.gather(pointers, vector(lanes, FLOAT), const(vector(lanes, "i1"), 1), 4)
