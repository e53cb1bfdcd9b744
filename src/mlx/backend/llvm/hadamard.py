"""Hadamard transforms of rows: butterflies within vectors, then among vectors in registers.

A row is read once and written once.  A pass does two to four steps among as many vectors as
registers hold; what lies between passes stays in the worker's scratch, which a cache holds.
Rows shorter than a vector share one where they lie side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.backend.llvm import caches, memory
from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.along import Along, RowCode, View, along, split_rows
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import REGISTER, Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, float_bits, i64, lane_consts, vector
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass

ROWS, EACH, SCALE, COUNT, PITCH, AREA, AREA_BYTES, VIEWS = 0, 1, 2, 3, 4, 5, 7, 8


def plan_hadamard(
    primitive: Any,
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The command of a transform."""
    (x,), (out,) = inputs, outputs
    view = along(len(x.shape) - 1, [x, out])
    size, elements = int(view.size), view.rows * view.size
    if not elements:
        return []
    dtype = dtype_named(out.dtype)
    units = tuple(bool(v.step == dtype.size) or size == 1 for v in view.views)
    spec = HadamardSpec(out.dtype, size, view.depth, units)
    pitch, row = 0, size
    if size < spec.lanes and all(units) and _dense(view, size * dtype.size):
        pitch = row = spec.lanes
        views = tuple(View(v.pointer, (row * dtype.size,), v.step) for v in view.views)
        view = Along((-(-elements // row),), row, views)
        spec = HadamardSpec(out.dtype, size, 1, units)
    rows = view.rows
    if all(units) and caches.overflows(2 * elements * dtype.size) and _aligned(view.views[1]):
        spec = HadamardSpec(out.dtype, size, view.depth, units, stream=size >= spec.lanes)
    each = split_rows(rows, row, workers)
    nbytes = size * accumulator(dtype).size
    consts = [rows, each, float_bits(primitive.scale), elements if pitch else size, pitch]
    consts += [*scratch(nbytes * workers).consts, nbytes, *view.consts]
    flops = elements * (size.bit_length() - 1)
    return [Command(spec, consts, -(-rows // each), "Hadamard", 2 * elements * dtype.size, flops)]


def _dense(view: Along, nbytes: int) -> bool:
    """Whether rows of so many bytes lie side by side."""
    return view.depth == 1 and all(v.strides == (nbytes,) for v in view.views)


def _aligned(view: View) -> bool:
    return all(n % 64 == 0 for n in (view.pointer.offset, *view.strides))


@dataclass(frozen=True)
class HadamardSpec:
    """Consts: rows, rows a task, the scale's bits, elements of a row (or of all) and from one row
    to the next, scratch (base, offset, bytes a worker), then what :class:`RowCode` reads."""

    dtype: str
    size: int
    depth: int
    units: tuple[bool, ...]
    stream: bool = False

    @property
    def key(self) -> str:
        units = "".join("01"[u] for u in self.units)
        return f"hadamard {self.dtype} {self.size} {self.depth} {units} {self.stream}"

    @property
    def lanes(self) -> int:
        return host().vector_bytes // accumulator(dtype_named(self.dtype)).size

    def emit(self, module: Module, name: str) -> None:
        _Transform(self, Kernel(module, name)).emit()


def _passes(steps: int) -> list[int]:
    """How many steps each pass does; half of the registers hold vectors."""
    most = 4 if host().avx512 or host().has("neon") else 3
    count = max(1, -(-steps // most))
    return [steps // count + (i < steps % count) for i in range(count)]


class _Transform:
    """Emission of one kernel."""

    def __init__(self, spec: HadamardSpec, kernel: Kernel) -> None:
        self.spec, self.k, self.f = spec, kernel, kernel.f
        self.dtype = dtype_named(spec.dtype)
        self.acc = accumulator(self.dtype)
        self.e = LaneEmitter(self.f, spec.lanes)
        self.type = vector(spec.lanes, REGISTER[self.acc.name])
        self.mask: Value | None = None

    def emit(self) -> None:
        k, f, lanes = self.k, self.f, self.spec.lanes
        for slot in range(VIEWS):
            k.const(slot)
        code = RowCode(k, VIEWS, self.spec.depth, 2)
        self.steps = code.steps
        self.area = f.gep(k.pointer(AREA), f.mul(k.worker, k.const(AREA_BYTES)))
        scale = f.bitcast(k.const(SCALE), "double")
        if self.acc.size == 4:
            scale = f.cast("fptrunc", scale, "float")
        self.scale = f.splat(scale, lanes)
        first = f.mul(k.task, k.const(EACH))
        rows = f.loop(first, f.min(f.add(first, k.const(EACH)), k.const(ROWS)), i64(1))
        self.x, self.out = code.row(rows.index)
        if self.spec.size < lanes:
            left = f.sub(k.const(COUNT), f.mul(rows.index, k.const(PITCH)))
            self.mask = memory.below(f, f.min(left, i64(lanes)), lanes)
        self._row()
        f.end_loop(rows)
        f.ret()

    def _row(self) -> None:
        f = self.f
        vectors = max(1, self.spec.size // self.spec.lanes)
        passes, done = _passes(vectors.bit_length() - 1), 0
        for number, steps in enumerate(passes):
            ends = number == 0, number == len(passes) - 1
            groups = f.loop(i64(0), i64(vectors >> steps), i64(1))
            inner = f.op("and", groups.index, i64((1 << done) - 1))
            block = f.op("shl", f.op("lshr", groups.index, i64(done)), i64(done + steps))
            self._group(f.op("or", block, inner), (done, steps), ends)
            f.end_loop(groups)
            done += steps

    def _group(self, first: Value, at: tuple[int, int], ends: tuple[bool, bool]) -> None:
        """A pass over 2^steps vectors, 2^done apart."""
        f, (done, steps), (is_first, is_last) = self.f, at, ends
        places = [f.add(first, i64(i << done)) for i in range(1 << steps)]
        places = [f.mul(place, i64(self.spec.lanes)) for place in places]
        if is_first:
            x = [self._within(self._read(place)) for place in places]
        else:
            x = [f.load(self._scratch(place), self.type, 64) for place in places]
        for step in range(steps):
            x = _butterflies(f, x, 1 << step)
        for place, v in zip(places, x, strict=True):
            if is_last:
                self._write(f.mul(v, self.scale), place)
            else:
                f.store(v, self._scratch(place), 64)

    def _scratch(self, place: Value) -> Value:
        return self.f.gep(self.area, self.f.mul(place, i64(self.acc.size)))

    def _within(self, v: Value) -> Value:
        """The steps among lanes: the neighbour plus or minus the element."""
        f, lanes, step = self.f, self.spec.lanes, 1
        while step < min(self.spec.size, lanes):
            other = f.shuffle(v, None, [i ^ step for i in range(lanes)])
            signs = lane_consts(self.type, [-1.0 if i & step else 1.0 for i in range(lanes)])
            fused = host().has_fma  # the product is exact either way
            v = f.fma(v, signs, other) if fused else f.add(f.mul(v, signs), other)
            step *= 2
        return v

    def _read(self, place: Value) -> Value:
        address = self._address(self.x, place, 0)
        if self.spec.units[0]:
            return memory.load_unit(self.e, address, self.dtype, self.mask).v
        return memory.load_strided(self.e, address, self.dtype).v

    def _write(self, v: Value, place: Value) -> None:
        lane = Lane(self.acc, v) if self.acc is self.dtype else self.e.rounded(v, self.dtype)
        address = self._address(self.out, place, 1)
        if self.spec.units[1]:
            memory.store_unit(self.e, lane, address, self.mask, self.spec.stream)
        else:
            memory.store_strided(self.e, lane, address, self.mask)

    def _address(self, base: Value, place: Value, operand: int) -> Value:
        """Of a vector; of each lane where they lie apart."""
        f, lanes = self.f, self.spec.lanes
        if self.spec.units[operand]:
            return f.gep(base, f.mul(place, i64(self.dtype.size)))
        last = i64(self.spec.size - 1) if self.mask else None
        return memory.strided_addresses(f, base, place, self.steps[operand], lanes, last)


def _butterflies(f: Any, x: list[Value], step: int) -> list[Value]:
    """Sums and differences of vectors ``step`` apart."""
    out = list(x)
    for i in range(len(x)):
        if not i & step:
            out[i], out[i + step] = f.add(x[i], x[i + step]), f.sub(x[i], x[i + step])
    return out
