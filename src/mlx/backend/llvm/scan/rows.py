"""Scans along the last axis, or beside few columns: vectors of neighbours, scanned by doubling.

A block is as many vectors as there are columns, so that it holds a whole number of places of every
column: where one column shifts its elements by a place, c columns shift the block by c elements.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.scan.blocks import Block, BlockScan
from mlx.backend.llvm.scan.common import WHOLE, ScanSpec
from mlx.backend.llvm.values import Value, const, element_of, i64, lane_consts, vector
from mlx.base.frozen import dataclass
from mlx.compiler.nest import CHUNK

SUPER = 8
"""Chunks of a command: they stay in the cache from the finding of their totals to the scan."""


@dataclass(frozen=True)
class RowScanSpec(ScanSpec):
    """Along the last axis, or beside ``columns`` columns that lie side by side.

    Consts: rows, rows a task, size, first chunk, chunks of this command, all chunks, the first
    operand's stride along columns; x and result along the axis.  In mode ``part`` a command scans
    its chunks, and beside that, so that reading and writing share the way to memory, finds the
    totals of those behind them (as many as ``rows a task`` says): base and offset of totals [row,
    chunk, column], and of what came before the first chunk of each command [row, command, column].
    """

    stream: bool = False
    columns: int = 1

    @property
    def key(self) -> str:
        return f"{super().key} {self.stream} {self.columns}"

    def emit(self, module: Module, name: str) -> None:
        RowScan(self, Kernel(module, name)).emit()


class RowScan(BlockScan):
    """Emission of one row scan."""

    spec: RowScanSpec

    def __init__(self, spec: RowScanSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel)
        self.width = spec.columns
        self.nothing: Block = [self.identity] * self.width

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        rows, each, self.size, first, count, chunks, self.beside = (k.const(i) for i in range(7))
        self.code = RowCode(k, 7, spec.depth, 2)
        if spec.mode == WHOLE:
            row0 = f.mul(k.task, each)
            loop = f.loop(row0, f.min(f.add(row0, each), rows), i64(1))
            self._whole_row(loop.index)
            f.end_loop(loop)
            f.ret()
            return
        pairs = f.max(count, each)
        row = f.op("udiv", k.task, f.add(pairs, pairs))
        rest = f.sub(k.task, f.mul(row, f.add(pairs, pairs)))
        number, pointers = f.op("lshr", rest, i64(1)), self.code.row(row)
        slot = 7 + self.code.count
        totals = self._place(k.pointer(slot), f.mul(row, chunks))
        before = k.pointer(slot + 2)
        odd = f.icmp("ne", f.op("and", rest, i64(1)), i64(0))
        f.where(
            odd,
            lambda: f.where(
                f.icmp("slt", number, each),
                lambda: self._total(pointers, totals, f.add(f.add(first, count), number)),
            ),
            lambda: f.where(
                f.icmp("slt", number, count),
                lambda: self._part(pointers, totals, before, row, number),
            ),
        )
        f.ret()

    def _ends(self, chunk: Value) -> tuple[Value, Value]:
        f = self.f
        k0 = f.mul(chunk, i64(CHUNK))
        return k0, f.min(f.add(k0, i64(CHUNK)), self.size)

    def _total(self, pointers: Sequence[Value], totals: Value, chunk: Value) -> None:
        """Leave the total of a chunk."""
        total = self._chunk(pointers, *self._ends(chunk), None, stored=False)
        self._store_total(total, self._place(totals, chunk))

    def _part(
        self, pointers: Sequence[Value], totals: Value, before: Value, row: Value, number: Value
    ) -> None:
        """Scan a chunk of this command behind all that came before it."""
        chunk = self.f.add(self.k.const(3), number)
        offset = self._offset(totals, before, row, chunk)
        total = self.combined(offset, self._chunk(pointers, *self._ends(chunk), offset))
        self._leave(total, before, row, number)

    def _place(self, base: Value, index: Value) -> Value:
        return self.f.gep(base, self.f.mul(index, i64(self.acc.size * self.width)))

    def _load_total(self, place: Value) -> Block:
        """A number for each column, repeated along the block."""
        e, lanes = self.e, self.e.lanes
        if self.width == 1:
            return [memory.load_splat(e, place, self.acc)]
        mask = memory.below(self.f, i64(self.width), lanes)
        return self._repeated(memory.load_unit(e, place, self.acc, mask), 0)

    def _store_total(self, total: Block, place: Value) -> None:
        if self.width == 1:
            memory.store_first(self.e, total[0], place)
            return
        mask = memory.below(self.f, i64(self.width), self.e.lanes)
        memory.store_unit(self.e, total[0], place, mask)

    def _repeated(self, x: Lane, first: int) -> Block:
        """As many lanes as columns, from one on, repeated along the block."""
        lanes = self.e.lanes
        return [
            Lane(
                x.dtype,
                *[
                    self.f.shuffle(
                        p, None, [first + (v * lanes + i) % self.width for i in range(lanes)]
                    )
                    for p in x.parts
                ],
            )
            for v in range(self.width)
        ]

    def _commands(self, row: Value) -> Value:
        """The index of this row's first entry in ``before``."""
        f = self.f
        chunks = f.add(self.k.const(5), i64(SUPER - 1))
        return f.mul(row, f.op("udiv", chunks, i64(SUPER)))

    def _offset(self, totals: Value, before: Value, row: Value, chunk: Value) -> Block:
        """The fold of all chunks before this one."""
        f, first = self.f, self.k.const(3)
        index = f.add(self._commands(row), f.op("udiv", first, i64(SUPER)))
        known = self._load_total(self._place(before, index))
        at_start = f.icmp("eq", first, i64(0))
        parts = [
            f.select(at_start, p, q)
            for p, q in zip(self.parts(self.nothing), self.parts(known), strict=True)
        ]
        loop = f.loop(first, chunk, i64(1), parts)
        total = self._load_total(self._place(totals, loop.index))
        merged = self.combined(self.block(loop.values), total)
        return self.block(f.end_loop(loop, self.parts(merged)))

    def _leave(self, total: Block, before: Value, row: Value, number: Value) -> None:
        """The last chunk of a command leaves the fold so far to the next command."""
        f, k = self.f, self.k
        following = f.add(f.op("udiv", k.const(3), i64(SUPER)), i64(1))
        index = f.add(self._commands(row), following)
        ends = f.icmp("eq", number, i64(SUPER - 1))
        more = f.icmp("slt", f.mul(following, i64(SUPER)), k.const(5))
        last = f.op("and", ends, more)
        f.where(last, lambda: self._store_total(total, self._place(before, index)))

    def _whole_row(self, row: Value) -> None:
        f = self.f
        pointers = self.code.row(row)
        if not self.spec.chunked:
            self._chunk(pointers, i64(0), self.size, None)
            return
        loop = f.loop(i64(0), self.size, i64(CHUNK), self.parts(self.nothing))
        offset = self.block(loop.values)
        k1 = f.min(f.add(loop.index, i64(CHUNK)), self.size)
        total = self.combined(offset, self._chunk(pointers, loop.index, k1, offset))
        f.end_loop(loop, self.parts(total))

    def _chunk(
        self,
        pointers: Sequence[Value],
        k0: Value,
        k1: Value,
        offset: Block | None,
        stored: bool = True,
    ) -> Block:
        """Scan elements k0 to k1 (counted in the scan's direction), and store them unless only
        the total is wanted; the chunk's total."""
        f, lanes = self.f, self.e.lanes
        whole = f.add(k0, f.op("and", f.sub(k1, k0), i64(-lanes)))
        carry = self.nothing
        if not stored and self.spec.units[0] and self.width == 1:
            k0, carry = self._squares(pointers[0], k0, k1)
        for begin, end in ((k0, whole), (whole, k1)):
            loop = f.loop(begin, end, i64(lanes), self.parts(carry))
            left = f.sub(k1, loop.index) if begin is whole else None
            carry = self.block(loop.values)
            total = self._block(pointers, loop.index, left, carry, offset, stored)
            following = self.combined(carry, total)
            carry = self.block(f.end_loop(loop, self.parts(following)))
        return carry

    def _squares(self, pointer: Value, k0: Value, k1: Value) -> tuple[Value, Block]:
        """Totals of as many blocks as a vector has lanes, all at once; where they end, and their
        fold.  The last lane of a scan by doubling is a tree over neighbours, so these trees give
        the same bits for a fraction of the shuffles."""
        f, lanes = self.f, self.e.lanes
        size = lanes * lanes
        end = f.add(k0, f.op("and", f.sub(k1, k0), i64(-size)))
        place = f.alloca("i8", 2 * 64)
        loop = f.loop(k0, end, i64(size), self.identity.parts)
        totals = self._tree(pointer, loop.index, lanes)
        for i, part in enumerate(totals.parts):
            f.store(part, f.gep(place, i64(64 * i)), 64)
        each = f.loop(i64(0), i64(lanes), i64(1), loop.values)
        parts = [
            f.splat(f.load(f.gep(f.gep(place, i64(64 * i)), each.index, element), element), lanes)
            for i, element in enumerate(element_of(part.type) for part in totals.parts)
        ]
        following = self.combine(Lane(self.acc, *each.values), Lane(self.acc, *parts))
        return end, self.block(f.end_loop(loop, f.end_loop(each, following.parts)))

    def _tree(self, pointer: Value, k: Value, blocks: int) -> Lane:
        """Folds over neighbours of consecutive blocks, side by side in one vector."""
        f, lanes = self.f, self.e.lanes
        if blocks == 1:
            at = f.sub(f.sub(self.size, k), i64(lanes)) if self.reverse else k
            parts = self._load(pointer, at, None)[0].parts
            if self.reverse:
                parts = [f.shuffle(p, None, range(lanes - 1, -1, -1)) for p in parts]
            return Lane(self.acc, *parts)
        half = blocks // 2
        first = self._tree(pointer, k, half)
        second = self._tree(pointer, f.add(k, i64(half * lanes)), half)
        pairs = [
            [
                f.shuffle(p, q, range(start, 2 * lanes, 2))
                for p, q in zip(first.parts, second.parts, strict=True)
            ]
            for start in (0, 1)
        ]
        return self.combine(Lane(self.acc, *pairs[0]), Lane(self.acc, *pairs[1]))

    def _masks(self, left: Value) -> list[Value]:
        """The lanes of what is left of a row: the first ones, reversed the last."""
        f, lanes = self.f, self.e.lanes
        if self.reverse:
            left = f.sub(i64(lanes), left)
        end = f.mul(left, i64(self.width))
        masks = [memory.below(f, f.sub(end, i64(v * lanes)), lanes) for v in range(self.width)]
        return [f.op("xor", m, const(m.type, 1)) for m in masks] if self.reverse else masks

    def _block(
        self,
        pointers: Sequence[Value],
        k: Value,
        left: Value | None,
        carry: Block,
        offset: Block | None,
        stored: bool,
    ) -> Block:
        """Scan one block, store it unless only totals are wanted; its totals, repeated."""
        f, e, c = self.f, self.e, self.width
        at = f.sub(f.sub(self.size, k), i64(e.lanes)) if self.reverse else k
        masks = None if left is None else self._masks(left)
        x = self._load(pointers[0], at, masks)
        if masks is not None:
            x = [self.kept(v, mask) for v, mask in zip(x, masks, strict=True)]
        local, step = x, 1
        while step < e.lanes:
            local = self.combined(self.shifted(local, c * step), local)
            step *= 2
        last, first = (local[0], 0) if self.reverse else (local[-1], e.lanes - c)
        if stored:
            y = local if self.spec.primitive.inclusive else self.shifted(local, c)
            y = self.combined(carry, y)
            if offset is not None:
                y = self.combined(offset, y)
            start = f.gep(pointers[1], self.scaled(f.mul(at, i64(c))))
            self.store_block(y, start, masks, self.spec.stream and masks is None)
        return self._repeated(last, first)

    def _load(self, pointer: Value, at: Value, masks: list[Value] | None) -> Block:
        """The elements of a block, ``at`` places into the row."""
        if self.spec.units[0]:
            start = self.f.gep(pointer, self.scaled(self.f.mul(at, i64(self.width))))
            return self.load_block(start, self.width, masks)
        return [
            self._gathered(pointer, at, v, None if masks is None else masks[v])
            for v in range(self.width)
        ]

    def _gathered(self, pointer: Value, at: Value, number: int, mask: Value | None) -> Lane:
        """Vector ``number`` of a block whose elements lie apart."""
        f, e, lanes = self.f, self.e, self.e.lanes
        places = [divmod(number * lanes + i, self.width) for i in range(lanes)]
        offsets = self.bytes_to(at, [q for q, _ in places], self.code.steps[0], mask)
        if self.width > 1:
            columns = lane_consts(vector(lanes, "i64"), [r for _, r in places])
            offsets = f.add(offsets, f.mul(columns, f.splat(self.beside, lanes)))
        addresses = memory.moved(f, pointer, offsets)
        return Lane(self.acc, *memory.load_strided(e, addresses, self.dtype).parts)
