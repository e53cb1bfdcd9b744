"""Short rows, 16 at once: a sorting network with a row in each lane.

The exchanges are those of Batcher's merge exchange (Knuth, The Art of Computer Programming 3,
algorithm 5.2.2M), listed among the command's consts, so that one kernel serves all sizes.
Records with an index are all different, hence the network sorts them stably.
"""

from __future__ import annotations

from functools import lru_cache

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.sorting.records import Record, restore_where
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


def scratch_bytes(record: Record, n: int) -> int:
    """Of one worker."""
    return n * LANES * record.size


@dataclass(frozen=True)
class NetworkSpec:
    """Consts: rows, groups of rows a task, size, exchanges; x and result along the axis; base,
    offset and bytes a worker of scratch; then the exchanges."""

    record: Record
    depth: int

    @property
    def key(self) -> str:
        return f"sort network {self.record.text} {self.depth}"

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
        code = RowCode(k, 4, self.spec.depth, 2)
        slot = 4 + code.count
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
        source, target = (f.load(place, self.pointers, 64) for place in places)
        signs = self._fill(source)
        self._exchange(f.gep(k.consts, i64(slot + 3), "i64"), count)
        left = f.sub(rows, group.index)
        self._write(source, target, memory.below(f, f.min(left, i64(LANES)), LANES))
        if self.record.loses_sign:
            self._restore(signs, places, f.min(left, i64(LANES)))
        f.end_loop(group)
        f.ret()

    def _at(self, index: Value) -> list[Value]:
        """Addresses of a row of records, one a plane."""
        f = self.f
        first = f.gep(self.area, f.mul(index, i64(LANES * self.record.size)))
        return [first, f.gep(first, i64(LANES * 8))] if self.record.wide else [first]

    def _moved(self, pointers: Value, offset: Value) -> Value:
        return self.f.emit(
            f"getelementptr i8, {self.pointers} {pointers.ref}, {offset.type} {offset.ref}",
            self.pointers,
        )

    def _elements(self, pointers: Value) -> Value:
        """The bits of one element a lane."""
        align = 4 if self.record.dtype.is_complex else self.record.dtype.size
        mask = memory.full_mask(LANES)
        return self.f.gather(pointers, vector(LANES, self.record.word), mask, align)

    def _fill(self, source: Value) -> Value:
        f, record = self.f, self.record
        mask_type = vector(LANES, "i1")
        loop = f.loop(i64(0), self.n, i64(1), [const(mask_type, 0)])
        bits = self._elements(self._moved(source, f.mul(loop.index, self.step)))
        planes = [record.key(f, bits)]
        if record.indexed:
            index = f.splat(loop.index, LANES)
            planes = [*planes, index] if record.wide else [record.packed(f, planes[0], index)]
        for plane, place in zip(planes, self._at(loop.index), strict=True):
            f.store(plane, place, 64)
        seen = f.op("or", loop.values[0], record.is_negative_zero(f, bits))
        return f.end_loop(loop, [seen])[0]

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

    def _write(self, source: Value, target: Value, mask: Value) -> None:
        f, record = self.f, self.record
        loop = f.loop(i64(0), self.n, i64(1))
        planes = [f.load(place, self.type, 64) for place in self._at(loop.index)]
        if record.output == "value":
            result = record.element(f, planes[0])
        else:
            index = planes[-1]
            if not record.wide:
                index = f.op("and", index, const(index.type, 0xFFFFFFFF))
            if record.output == "index":
                result = f.cast("trunc", index, "i32")
            else:
                offsets = f.mul(index, f.splat(self.step, LANES))
                result = self._elements(self._moved(source, offsets))
        self._scatter(result, self._moved(target, f.mul(loop.index, self.out_step)), mask)
        f.end_loop(loop)

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
        restore_where(f, seen, self.record, self.n, steps, source, target)
        f.end_loop(loop)
