"""The rows kernel where an operand lies across the rows: blocks of rows are staged.

An operand whose neighbours along the last outer loop lie together, but not those along the
inner loop, is a transposed one.  A block of 16 rows of it is first transposed, in registers,
into scratch in cache; then its rows are read like any others.  Nothing else of the kernel
changes, and no result does.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.rows import RowsKernel, RowsSpec
from mlx.backend.llvm.values import Value, const, i64, vector
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass
from mlx.compiler.nest import Load, Nest
from mlx.compiler.sizes import Number, least

BLOCK = 16
"""Rows of a block, and the most elements of a tile's side."""
CHUNK = 256
"""Inner elements of a task that reduces nothing: so many lines of the next block, asked for
while one is transposed, are still in the second cache when their turn comes."""
NARROW, ALIASED = 64, 4096
"""The same where lines lie such bytes apart, and so share few sets of the cache."""
STAGED_BYTES = 1 << 20
"""Most scratch of a worker."""


@dataclass(frozen=True)
class StagedSpec(RowsSpec):
    """Consts as for rows, and behind them base, offset and bytes a worker of the staging area,
    and bytes of a staged row."""

    @property
    def key(self) -> str:
        return "staged " + self.structure.text

    @property
    def staging_slot(self) -> int:
        return self.scratch_slot + (4 if self.structure.scratch else 0)

    def emit(self, module: Module, name: str) -> None:
        _Staged(self, Kernel(module, name)).emit()


def row_bytes(inner: int, size: int) -> int:
    """Of a staged row: whole tiles, and off the powers of two that share cache sets."""
    return -(-inner // BLOCK) * BLOCK * size + 64


def chunk(nest: Nest, staged: list[int]) -> Number:
    """Inner elements of a task of a map.  Other operands are best read in long pieces, and a
    result written in pieces of more than a line."""
    stored = {a for _, a in nest.stores}
    others = [a for n, a in enumerate(nest.accesses) if n not in stored and n not in staged]
    narrow = all(a.buffer < 0 or a.inner == 0 for a in others) and all(
        size > 1 and a.inner * size % ALIASED == 0
        for a in (nest.accesses[n] for n in staged)
        if (size := a.dtype.size)  # type: ignore[union-attr]
    )
    return least(nest.inner, NARROW if narrow else CHUNK)


class _Staged(RowsKernel):
    """Emission of one staged rows kernel."""

    spec: StagedSpec

    def emit(self) -> None:
        k, f, slot = self.k, self.f, self.spec.staging_slot
        area = k.pointer(slot)
        self.area = f.gep(area, f.mul(k.worker, k.const(slot + 2)))
        self.row_bytes = k.const(slot + 3)
        self.staged = [a for a, c in enumerate(self.s.accesses) if c.kind == "staged"]
        super().emit()

    def _run(self, pointers: list[Value], first: Value, count: Value, row: Value) -> None:
        f = self.f
        block = f.loop(i64(0), count, i64(BLOCK))
        rows = f.min(f.sub(count, block.index), i64(BLOCK))
        at = f.add(first, block.index)
        moved = self._moved(pointers, self.s.depth - 1, at)
        for access in self.staged:
            self._stage(access, moved[access], rows)
        loop = f.loop(i64(0), rows, i64(1))
        here = self._moved(pointers, self.s.depth - 1, f.add(at, loop.index))
        for access in self.staged:
            here[access] = f.gep(self._area(access), f.mul(loop.index, self.row_bytes))
        self._row(here, f.add(f.add(row, block.index), loop.index))
        f.end_loop(loop)
        f.end_loop(block)

    def _area(self, access: int) -> Value:
        """The staged rows of one operand."""
        f = self.f
        offset = f.mul(self.row_bytes, i64(BLOCK * self.staged.index(access)))
        return f.gep(self.area, offset)

    def _stage(self, access: int, source: Value, rows: Value) -> None:
        """Transpose a block, tile by tile: ``side`` rows by ``side`` inner elements."""
        f = self.f
        size = dtype_named(self.s.accesses[access].dtype).size
        side = min(16, 64 // size)
        stride = self._stride(access, self.s.depth)
        last = f.sub(self.j1, i64(1))
        area = self._area(access)
        loop = f.loop(self.j0, self.j1, i64(side))
        starts = [
            f.gep(source, f.mul(f.min(f.add(loop.index, i64(i)), last), stride))
            for i in range(side)
        ]
        to = f.gep(area, f.mul(f.sub(loop.index, self.j0), i64(size)))
        for top in range(0, BLOCK, side):
            mask = memory.below(f, f.sub(rows, i64(top)), side)
            for p in starts:
                memory.prefetch(f, f.gep(p, i64((BLOCK + top) * size)), 2)
            tile = [_load(f, f.gep(p, i64(top * size)), side, size, mask) for p in starts]
            for i, part in enumerate(transposed(f, tile)):
                f.store(part, f.gep(to, f.mul(self.row_bytes, i64(top + i))), size)
        f.end_loop(loop)

    def _load(self, expression: Load, j: Value, mask: Value | None) -> Lane:
        if expression.access not in self.staged:
            return super()._load(expression, j, mask)
        f, dtype = self.f, expression.dtype
        offset = f.mul(f.sub(j, self.j0), i64(dtype.size))
        address = f.gep(self.pointers[expression.access], offset)
        return memory.load_unit(self.e, address, dtype, mask)


def _load(f: Function, address: Value, side: int, size: int, mask: Value) -> Value:
    type = vector(side, f"i{8 * size}")
    return f.masked_load(address, type, mask, 1, const(type, 0))


def transposed(f: Function, tile: list[Value]) -> list[Value]:
    """A square tile of vectors, rows for columns: log2(side) rounds of interleaving the first
    half of the vectors with the second."""
    side = len(tile)
    low = [i // 2 + (i % 2) * side for i in range(side)]
    high = [i + side // 2 for i in low]
    rounds = side.bit_length() - 1
    for _ in range(rounds):
        pairs = list(zip(tile[: side // 2], tile[side // 2 :], strict=True))
        tile = [f.shuffle(a, b, pick) for a, b in pairs for pick in (low, high)]
    return tile
