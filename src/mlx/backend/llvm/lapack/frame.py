"""The kernels around LAPACK's routines: batches of matrices, errors, OpenBLAS's threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.lapack.moves import Matrix, Mover
from mlx.backend.llvm.lapack.small import LANES, SMALL
from mlx.backend.llvm.values import Value, const, i64
from mlx.base.dtype import dtype_named, real_of
from mlx.base.frozen import dataclass

FINE = -1
"""What stands where the first failure is noted if there was none."""


@dataclass(frozen=True)
class LapackSpec:
    """Consts: matrices, matrices a task, m, n, k; where failures are noted; base, offset and bytes
    a worker of scratch; the routines' addresses; the regions' offsets; numbers; the stride along
    columns of each operand; the operands along their rows.
    """

    routine: Any
    dtype: str
    depth: int
    units: tuple[bool, ...]

    @property
    def key(self) -> str:
        units = "".join("01"[u] for u in self.units)
        return f"lapack {self.routine.text} {self.dtype} {self.depth} {units}"

    def emit(self, module: Module, name: str) -> None:
        Frame(self, Kernel(module, name)).emit()


class Frame:
    """Emission: what a routine's code is made of."""

    def __init__(self, spec: LapackSpec, kernel: Kernel) -> None:
        k, f = kernel, kernel.f
        self.spec, self.k, self.f = spec, k, f
        self.dtype = dtype_named(spec.dtype)
        self.mover = Mover(f, self.dtype)
        self.reals = Mover(f, real_of(self.dtype))
        self.count, self.each, self.m, self.n, self.size = (k.const(i) for i in range(5))
        self.noted = k.pointer(5)
        area = f.gep(k.pointer(7), f.mul(k.worker, k.const(9)))
        slot = 10
        routine = spec.routine
        self.addresses = {name: k.const(slot + i) for i, name in enumerate(routine.calls)}
        slot += len(routine.calls)
        self.regions = [f.gep(area, k.const(slot + i)) for i in range(routine.regions)]
        slot += routine.regions
        self.numbers = [k.const(slot + i) for i in range(routine.numbers)]
        slot += routine.numbers
        self.columns = [k.const(slot + i) for i in range(len(spec.units))]
        self.code = RowCode(k, slot + len(spec.units), spec.depth, len(spec.units))

    def emit(self) -> None:
        f = self.f
        first = f.mul(self.k.task, self.each)
        loop = f.loop(first, f.min(f.add(first, self.each), self.count), i64(1))
        self.matrix = loop.index
        starts = self.code.row(loop.index)
        operands = [
            Matrix(start, row, column, unit)
            for start, row, column, unit in zip(
                starts, self.code.steps, self.columns, self.spec.units, strict=True
            )
        ]
        self.spec.routine.emit(self, operands)
        f.end_loop(loop)
        f.ret()

    # -- for routines --------------------------------------------------------------------

    def is_small(self, *counts: Value) -> Value:
        """Whether a matrix with so many rows and columns is left to our own code."""
        small = const("i1", not self.dtype.is_complex)
        for count in counts:
            small = self.f.op("and", small, self.f.icmp("sle", count, i64(SMALL)))
        return small

    def lead(self, small: Value, count: Value) -> Value:
        """Elements from one row in scratch to the next: small matrices have padded rows."""
        f = self.f
        whole = f.op("and", f.add(count, i64(LANES - 1)), i64(-LANES))
        return f.select(small, whole, count)

    def packed(self, region: int, columns: Value, dtype: Any = None) -> Matrix:
        """A region as a row-major matrix."""
        size = (dtype or self.dtype).size
        row = self.f.mul(columns, i64(size))
        return Matrix(self.regions[region], row, i64(size), True)

    def turned(self, region: int, rows: Value) -> Matrix:
        """A region as a column-major matrix."""
        size = self.dtype.size
        column = self.f.mul(rows, i64(size))
        return Matrix(self.regions[region], i64(size), column, False, True)

    def integer(self, number: Value) -> Value:
        """The address of an integer as LAPACK takes it."""
        f = self.f
        place = f.alloca("i32", align=4)
        f.store(f.cast("trunc", number, "i32"), place, 4)
        return place

    def letter(self, character: str) -> Value:
        place = self.f.alloca("i8", align=1)
        self.f.store(const("i8", ord(character)), place, 1)
        return place

    def one(self) -> Value:
        """The address of the number 1."""
        f, m = self.f, self.mover
        place = f.alloca(m.scalar, 2, align=8)
        f.store(const(m.scalar, 1), place, m.bytes)
        f.store(m.zero, f.gep(place, i64(1), m.scalar), m.bytes)
        return place

    def leading(self, size: Value) -> Value:
        """The address of a leading dimension, which LAPACK wants to be positive."""
        return self.integer(self.f.select(self.f.icmp("sgt", size, i64(1)), size, i64(1)))

    def call(self, name: str, *arguments: Value) -> None:
        f = self.f
        address = f.emit(f"inttoptr i64 {self.addresses[name].ref} to ptr", "ptr")
        f.do(f"call void {address.ref}({', '.join(f'ptr {a.ref}' for a in arguments)})")

    def checked(self, name: str, *arguments: Value) -> Value:
        """Call a routine whose last argument is ``info``, and return that as i64."""
        f = self.f
        info = f.alloca("i32", align=4)
        f.store(const("i32", 0), info, 4)
        self.call(name, *arguments, info)
        return f.cast("sext", f.load(info, "i32", 4), "i64")

    def where_finite(
        self, seen: Value, then: Callable[[], None], unknown: Callable[[], None]
    ) -> None:
        """One or the other, by what copies returned."""
        self.f.where(self.f.fcmp("ord", seen, seen), then, unknown)

    def note(self, info: Value) -> None:
        """Note a failure unless ``info`` is 0; the first matrix of all tasks is remembered."""
        noted_failure(self.f, self.noted, self.matrix, info)


def noted_failure(f: Function, noted: Value, matrix: Value, info: Value) -> None:
    """Note a matrix's failure unless ``info`` is 0; the first one stays."""
    worst = f.select(f.icmp("slt", info, i64(0)), i64(0), info)
    mark = f.add(f.op("shl", matrix, i64(31)), worst)
    mark = f.select(f.icmp("eq", info, i64(0)), i64(FINE), mark)
    f.do(f"%{f.label('old')} = atomicrmw umin ptr {noted.ref}, i64 {mark.ref} monotonic")


@dataclass(frozen=True)
class BeginSpec:
    """Before the matrices: no failure, and a number of threads for LAPACK.

    Consts: where failures are noted and behind it the number of threads before; the functions
    that get and set it, or 0; the number wanted.
    """

    @property
    def key(self) -> str:
        return "lapack begin"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, noted = k.f, k.pointer(0)
        f.store(i64(FINE), noted, 8)

        def change() -> None:
            get, put = _functions(k)
            before = f.emit(f"call i32 {get.ref}()", "i32")
            f.store(before, f.gep(noted, i64(8)), 4)
            wanted = f.cast("trunc", k.const(4), "i32")
            f.do(f"call void {put.ref}(i32 {wanted.ref})")

        _if_known(k, change)
        f.ret()


@dataclass(frozen=True)
class EndSpec:
    """After the matrices: the threads as they were, and the failure.  Consts: as before, and the
    error's code."""

    @property
    def key(self) -> str:
        return "lapack end"

    def emit(self, module: Module, name: str) -> None:
        k = Kernel(module, name)
        f, noted = k.f, k.pointer(0)

        def restore() -> None:
            _, put = _functions(k)
            before = f.load(f.gep(noted, i64(8)), "i32", 4)
            f.do(f"call void {put.ref}(i32 {before.ref})")

        _if_known(k, restore)
        mark = f.load(noted, "i64", 8)
        number = f.op("and", mark, i64((1 << 31) - 1))
        matrix = f.op("lshr", mark, i64(31))
        failed = f.icmp("ne", mark, i64(FINE))
        f.where(failed, lambda: k.fail(k.const(5), number, matrix, i64(0)))
        f.ret()


def _functions(k: Kernel) -> Sequence[Value]:
    return [k.f.emit(f"inttoptr i64 {k.const(slot).ref} to ptr", "ptr") for slot in (2, 3)]


def _if_known(k: Kernel, body: Callable[[], None]) -> None:
    f = k.f
    for slot in range(6):
        k.const(slot)  # loaded at the entry, which dominates every use
    f.where(f.icmp("ne", k.const(2), i64(0)), body)
