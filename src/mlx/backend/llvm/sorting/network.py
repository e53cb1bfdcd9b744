"""Short rows, 16 at once: a sorting network with a row in each lane.

The exchanges are those of Batcher's merge exchange (Knuth, The Art of Computer Programming 3,
algorithm 5.2.2M), listed among the command's consts, so that one kernel serves all sizes.
Records with an index are all different, hence the network sorts them stably.  Rows whose elements
are neighbours are read and written in square tiles, turned in registers.
"""

from __future__ import annotations

from functools import lru_cache

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode, View
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.sorting.records import Record, restore_where
from mlx.backend.llvm.staging import transposed
from mlx.backend.llvm.values import Value, const, i64, mangle, vector
from mlx.base.frozen import dataclass

LANES = 16
LONGEST = 128
"""Elements of the longest row for which exchanges are listed."""


@lru_cache(maxsize=LONGEST)
def exchanges(n: int) -> tuple[int, ...]:
    """Pairs (i, j), i < j: put the smaller of elements i and j at i, in this order."""
    pairs: list[int] = []
    top = 1 << max(n - 1, 1).bit_length() - 1
    p = top
    while p:
        q, r, d = top, 0, p
        while True:
            for i in range(n - d):
                if i & p == r:
                    pairs += (i, i + d)
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    return tuple(pairs)


def wanted_exchanges(n: int, begin: int, end: int) -> tuple[int, ...]:
    """Those exchanges on which elements begin to end of the sorted row depend."""
    pairs, wanted, kept = exchanges(n), set(range(begin, end)), []
    for i, j in zip(pairs[-2::-2], pairs[::-2], strict=True):
        if i in wanted or j in wanted:
            wanted |= {i, j}
            kept += [j, i]
    return tuple(kept[::-1])


def scratch_bytes(record: Record, n: int) -> int:
    """Of one worker; a tile that begins anywhere in the row may be read."""
    return (-(-n // LANES) + 1) * LANES * LANES * record.size


ALONG, ACROSS, APART = "along", "across", "apart"
"""Which elements are neighbours in memory: those of a row, those of a column, none."""


TILED = 6
"""Elements from which a row is read and written in tiles."""


def layout(view: View, n: int, size: int) -> str:
    """Of an operand's rows of n elements of a size in bytes."""
    if view.step == size and n >= TILED:
        return ALONG
    return ACROSS if view.strides == (size,) else APART


@dataclass(frozen=True)
class NetworkSpec:
    """Consts: rows, groups of rows a task, size, exchanges, first and last place wanted; x and
    result along the axis; base, offset and bytes a worker of scratch; then the exchanges."""

    record: Record
    depth: int
    layouts: tuple[str, str]
    """Of x and of the result."""

    @property
    def key(self) -> str:
        return f"sort network {self.record.text} {self.depth} {' '.join(self.layouts)}"

    def emit(self, module: Module, name: str) -> None:
        _Network(self, Kernel(module, name)).emit()


class _Network:
    """Emission of one kernel.  ``planes`` are the words of a record: one, or key and index."""

    def __init__(self, spec: NetworkSpec, kernel: Kernel) -> None:
        self.spec, self.k, self.f, self.record = spec, kernel, kernel.f, spec.record
        self.plane = spec.record.word if spec.record.wide else spec.record.type
        self.type = vector(LANES, self.plane)
        self.pointers = vector(LANES, "ptr")

    def emit(self) -> None:
        k, f = self.k, self.f
        rows, each, self.n, count = (k.const(i) for i in range(4))
        self.part = k.const(4), k.const(5)
        code = RowCode(k, 6, self.spec.depth, 2)
        slot = 6 + code.count
        self.area = f.gep(k.pointer(slot), f.mul(k.worker, k.const(slot + 2)))
        self.step, self.out_step = code.steps
        places = [f.alloca("ptr", LANES) for _ in range(2)]
        first = f.mul(f.mul(k.task, each), i64(LANES))
        last = f.min(f.add(first, f.mul(each, i64(LANES))), rows)
        group = f.loop(first, last, i64(LANES))
        lane = f.loop(i64(0), i64(LANES), i64(1))
        row = f.min(f.add(group.index, lane.index), f.sub(rows, i64(1)))
        for place, pointer in zip(places, code.row(row), strict=True):
            f.store(pointer, f.gep(place, lane.index, "ptr"), 8)
        f.end_loop(lane)
        self.places = places
        left = f.min(f.sub(rows, group.index), i64(LANES))
        self.there = memory.below(f, left, LANES)
        signs = self._fill()
        self._exchange(f.gep(k.consts, i64(slot + 3), "i64"), count)
        self._write()
        if self.record.loses_sign:
            self._restore(signs, places, left)
        f.end_loop(group)
        f.ret()

    def _at(self, index: Value) -> list[Value]:
        """Addresses of a row of records, one a plane."""
        f = self.f
        first = f.gep(self.area, f.mul(index, i64(LANES * self.record.size)))
        return [first, f.gep(first, i64(LANES * 8))] if self.record.wide else [first]

    def _elements(self, pointers: Value) -> Value:
        """The bits of one element a lane."""
        align, mask = self._align(self.record.dtype.size), memory.full_mask(LANES)
        return self.f.gather(pointers, vector(LANES, self.record.word), mask, align)

    def _pointers(self, operand: int) -> Value:
        """Where each lane's row begins."""
        return self.f.load(self.places[operand], self.pointers, 64)

    def _pointer(self, operand: int, lane: int) -> Value:
        return self.f.load(self.f.gep(self.places[operand], i64(lane), "ptr"), "ptr", 8)

    def _fill(self) -> Value:
        """Records of all rows; which of them had a negative zero."""
        f, record = self.f, self.record
        along = self.spec.layouts[0] == ALONG
        each = LANES if along else 1
        loop = f.loop(i64(0), self.n, i64(each), [const(vector(LANES, "i1"), 0)])
        columns = self._read_tile(loop.index) if along else [self._read(loop.index)]
        (seen,) = loop.values
        for number, bits in enumerate(columns):
            place = f.add(loop.index, i64(number))
            planes = [record.key(f, bits)]
            if record.indexed:
                index = f.splat(place, LANES)
                planes = [*planes, index] if record.wide else [record.packed(f, planes[0], index)]
            for plane, at in zip(planes, self._at(place), strict=True):
                f.store(plane, at, 64)
            seen = f.op("or", seen, record.is_negative_zero(f, bits))
        return f.end_loop(loop, [seen])[0]

    def _read(self, index: Value) -> Value:
        """A column of elements."""
        f, record = self.f, self.record
        offset = f.mul(index, self.step)
        if self.spec.layouts[0] == APART:
            return self._elements(memory.moved_each(f, self._pointers(0), offset))
        type = vector(LANES, record.word)
        here = f.gep(self._pointer(0, 0), offset)
        return f.masked_load(here, type, self.there, self._align(record.dtype.size), const(type, 0))

    def _read_tile(self, first: Value) -> list[Value]:
        """As many columns as lanes, zeros behind the last."""
        f, size = self.f, self.record.dtype.size
        type = vector(LANES, self.record.word)
        mask = memory.below(f, f.sub(self.n, first), LANES)
        offset = f.mul(first, i64(size))
        rows = []
        for lane in range(LANES):
            here = f.gep(self._pointer(0, lane), offset)
            rows.append(f.masked_load(here, type, mask, self._align(size), const(type, 0)))
        return transposed(f, rows)

    def _align(self, size: int) -> int:
        return 4 if self.record.dtype.is_complex else size

    def _exchange(self, pairs: Value, count: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), count, i64(1))
        pair = f.gep(pairs, f.mul(loop.index, i64(16)))
        places = [self._at(f.load(f.gep(pair, i64(offset)), "i64", 8)) for offset in (0, 8)]
        a, b = ([f.load(p, self.type, 64) for p in planes] for planes in places)
        for planes, results in zip(places, self._ordered(a, b), strict=True):
            for place, result in zip(planes, results, strict=True):
                f.store(result, place, 64)
        f.end_loop(loop)

    def _ordered(self, a: list[Value], b: list[Value]) -> tuple[list[Value], list[Value]]:
        f = self.f
        if not self.record.wide:
            name = mangle(self.type)
            for kind in ("umin", "umax"):
                f.module.declare(f"llvm.{kind}.{name}", self.type, [self.type, self.type])
            return (
                [f.call(f"llvm.umin.{name}", self.type, a[0], b[0])],
                [f.call(f"llvm.umax.{name}", self.type, a[0], b[0])],
            )
        tie = f.op("and", f.icmp("eq", a[0], b[0]), f.icmp("ugt", a[1], b[1]))
        swap = f.op("or", f.icmp("ugt", a[0], b[0]), tie)
        low = [f.select(swap, y, x) for x, y in zip(a, b, strict=True)]
        high = [f.select(swap, x, y) for x, y in zip(a, b, strict=True)]
        return low, high

    def _write(self) -> None:
        f, size = self.f, self.record.result_size
        along = self.spec.layouts[1] == ALONG
        each = LANES if along else 1
        first, last = self.part
        loop = f.loop(first, last, i64(each))
        if along:
            self._write_tile(loop.index)
        else:
            result = self._result(loop.index)
            offset = f.mul(f.sub(loop.index, first), self.out_step)
            if self.spec.layouts[1] == APART:
                pointers = memory.moved_each(f, self._pointers(1), offset)
                self._scatter(result, pointers, self.there)
            else:
                here = f.gep(self._pointer(1, 0), offset)
                f.masked_store(result, here, self.there, min(size, 4))
        f.end_loop(loop)

    def _write_tile(self, first: Value) -> None:
        """As many columns as lanes; what lies behind the last row is that row again."""
        f, size = self.f, self.record.result_size
        columns = [self._result(f.add(first, i64(c))) for c in range(LANES)]
        begin, end = self.part
        mask = memory.below(f, f.sub(end, first), LANES)
        offset = f.mul(f.sub(first, begin), i64(size))
        for lane, row in enumerate(transposed(f, columns)):
            f.masked_store(row, f.gep(self._pointer(1, lane), offset), mask, min(size, 4))

    def _result(self, index: Value) -> Value:
        """A column of results."""
        f, record = self.f, self.record
        planes = [f.load(place, self.type, 64) for place in self._at(index)]
        if record.output == "value":
            return record.element(f, planes[0])
        position = planes[-1]
        if not record.wide:
            position = f.op("and", position, const(position.type, 0xFFFFFFFF))
        if record.output == "index":
            return f.cast("trunc", position, "i32")
        inside = f.icmp("ult", position, f.splat(self.n, LANES))  # behind the last column are none
        position = f.select(inside, position, const(position.type, 0))
        offsets = f.mul(position, f.splat(self.step, LANES))
        return self._elements(memory.moved_each(f, self._pointers(0), offsets))

    def _scatter(self, bits: Value, pointers: Value, mask: Value) -> None:
        f = self.f
        name = f"llvm.masked.scatter.{mangle(bits.type)}.v{LANES}p0"
        f.module.declare(name, "void", [bits.type, pointers.type, mask.type])
        align = min(self.record.result_size, 4)
        f.do(
            f"call void @{name}({bits.type} {bits.ref}, "
            f"{pointers.type} align {align} {pointers.ref}, {mask.type} {mask.ref})"
        )

    def _restore(self, signs: Value, places: list[Value], count: Value) -> None:
        f = self.f
        any_sign = f.icmp("ne", f.bitcast(signs, f"i{LANES}"), const(f"i{LANES}", 0))
        valid = f.select(any_sign, count, i64(0))
        loop = f.loop(i64(0), valid, i64(1))
        source, target = (f.load(f.gep(p, loop.index, "ptr"), "ptr", 8) for p in places)
        seen = f.extract(signs, loop.index)
        steps = (self.step, self.out_step)
        restore_where(f, seen, self.record, self.n, steps, source, target, self.part)
        f.end_loop(loop)
