"""Many matrices at once, one in each lane of a vector: where they are and how they are moved.

Scratch holds vectors: element (i, j) of all matrices, row by row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.values import Value, bits_of, const, i64, mangle, vector

LANES = 16


class LaneFrame:
    """Emission: a group of matrices at a time."""

    def __init__(self, spec: Any, kernel: Kernel) -> None:
        k, f = kernel, kernel.f
        self.spec, self.k, self.f, self.scalar = spec, k, f, spec.scalar
        self.type, self.size = vector(LANES, spec.scalar), bits_of(spec.scalar) // 8
        self.count, self.each, self.m, self.n, self.sides = (k.const(i) for i in range(5))
        self.noted = k.pointer(5)
        self.a = f.gep(k.pointer(7), f.mul(k.worker, k.const(9)))
        slot = 10
        self.steps = [
            (k.const(slot + 2 * i), k.const(slot + 2 * i + 1)) for i in range(spec.operands)
        ]
        self.code = RowCode(k, slot + 2 * spec.operands, spec.depth, spec.operands)
        self.places = [f.alloca("ptr", LANES) for _ in range(spec.operands)]
        self.y = f.gep(self.a, f.mul(f.mul(self.m, self.n), i64(LANES * self.size)))
        right = f.mul(f.max(self.sides, self.n), self.n)
        self.pivots = f.gep(self.y, f.mul(right, i64(LANES * self.size)))
        self.order = f.gep(self.pivots, f.mul(self.n, i64(LANES * 4)))
        self.zero, self.one = const(self.type, 0), const(self.type, 1)
        self.integers = vector(LANES, "i32")

    def emit(self) -> None:
        f = self.f
        first = f.mul(f.mul(self.k.task, self.each), i64(LANES))
        last = f.min(f.add(first, f.mul(self.each, i64(LANES))), self.count)
        group = f.loop(first, last, i64(LANES))
        self.first = group.index
        lane = f.loop(i64(0), i64(LANES), i64(1))
        number = f.min(f.add(group.index, lane.index), f.sub(self.count, i64(1)))
        for place, pointer in zip(self.places, self.code.row(number), strict=True):
            f.store(pointer, f.gep(place, lane.index, "ptr"), 8)
        f.end_loop(lane)
        self.there = memory.below(f, f.sub(self.count, group.index), LANES)
        self.run()
        f.end_loop(group)
        f.ret()

    def run(self) -> None:
        raise TypeError(f"[{type(self).__name__}] declares no code.")

    # -- vectors in scratch ----------------------------------------------------------------

    def at(self, base: Value, row: Value, lead: Value, column: Value) -> Value:
        f = self.f
        index = f.add(f.mul(row, lead), column)
        return f.gep(base, f.mul(index, i64(LANES * self.size)))

    def load(self, address: Value) -> Value:
        return self.f.load(address, self.type, 64)

    def store(self, value: Value, address: Value) -> None:
        self.f.store(value, address, 64)

    def integer_at(self, base: Value, index: Value) -> Value:
        return self.f.gep(base, self.f.mul(index, i64(LANES * 4)))

    # -- operands --------------------------------------------------------------------------

    def addresses(self, operand: int, i: Value, j: Value) -> Value:
        """Where element (i, j) of each matrix lies."""
        f, (row, column) = self.f, self.steps[operand]
        pointers = f.load(self.places[operand], vector(LANES, "ptr"), 64)
        return memory.moved_each(f, pointers, f.add(f.mul(i, row), f.mul(j, column)))

    def each_element(
        self, rows: Value, columns: Value, body: Callable[[Value, Value], None]
    ) -> None:
        f = self.f
        i = f.loop(i64(0), rows, i64(1))
        j = f.loop(i64(0), columns, i64(1))
        body(i.index, j.index)
        f.end_loop(j)
        f.end_loop(i)

    def fetched(self, operand: int, i: Value, j: Value) -> Value:
        mask = memory.full_mask(LANES)
        return self.f.gather(self.addresses(operand, i, j), self.type, mask, self.size)

    def read(self, turned: bool = False, triangle: bool = False) -> Value:
        """Fetch the matrices (or lower triangles); which of them are finite."""
        f = self.f
        seen = f.alloca(self.type)
        self.store(self.zero, seen)
        lead = self.m if turned else self.n

        def place(i: Value, j: Value) -> Value:
            return self.at(self.a, j, lead, i) if turned else self.at(self.a, i, lead, j)

        def fetch(i: Value, j: Value) -> None:
            x = self.fetched(0, i, j)
            if triangle:
                x = f.select(f.icmp("sle", j, i), x, self.zero)
            self.store(x, place(i, j))
            self.store(f.add(self.load(seen), f.mul(x, self.zero)), seen)

        self.each_element(self.m, self.n, fetch)
        total = self.load(seen)
        finite = f.fcmp("ord", total, total)

        def replace(i: Value, j: Value) -> None:
            here = place(i, j)
            unit = f.select(f.icmp("eq", i, j), self.one, self.zero)
            self.store(f.select(finite, self.load(here), unit), here)

        bits = f.bitcast(finite, f"i{LANES}")
        known = f.icmp("eq", bits, const(f"i{LANES}", -1))
        f.where(known, lambda: None, lambda: self.each_element(self.m, self.n, replace))
        return finite

    def scatter(self, value: Value, addresses: Value, align: int) -> None:
        f = self.f
        name = f"llvm.masked.scatter.{mangle(value.type)}.v{LANES}p0"
        f.module.declare(name, "void", [value.type, addresses.type, self.there.type])
        f.do(
            f"call void @{name}({value.type} {value.ref}, {addresses.type} align {align} "
            f"{addresses.ref}, {self.there.type} {self.there.ref})"
        )

    def write(self, value: Value, finite: Value, operand: int, i: Value, j: Value) -> None:
        value = self.f.select(finite, value, const(self.type, float("nan")))
        self.scatter(value, self.addresses(operand, i, j), self.size)
