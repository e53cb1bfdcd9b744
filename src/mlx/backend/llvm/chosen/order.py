"""Rows ordered by the matrix that they choose: a counting sort, while the program runs.

A *group* is the rows of one matrix.  It goes to the first *class* of kernels whose limit holds
all of them, as one block; larger ones are divided into blocks of the last class, of a run-time
size each.  Blocks of a class of few rows lie ``limit`` places apart, others side by side.  Sizes of
tables follow from shapes alone; entries that are not needed have no rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_panels import Named
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass
from mlx.compiler.sizes import least

ENTRY = 24
"""Bytes of an entry of a table: the first place, rows, the matrix."""
_HEAD = (
    "index_base", "index_offset", "starts_base", "starts_offset", "order_base", "order_offset",
    "table_base", "table_offset", "index_step", "items", "rows", "choices", "places", "entries",
    "block", "even", "place", "entry",
)  # fmt: skip


@dataclass(frozen=True)
class OrderSpec:
    """One task: tables of blocks, and for each place the row that it holds."""

    dtype: str
    classes: int

    @property
    def key(self) -> str:
        return f"chosen order {self.dtype} {self.classes}"

    def emit(self, module: Module, name: str) -> None:
        _Order(self, Kernel(module, name)).emit()


class _Order(Named):
    def __init__(self, spec: OrderSpec, kernel: Kernel) -> None:
        numbers = [
            f"{part}{c}" for c in range(spec.classes) for part in ("limit", "place", "entry")
        ]
        self.slots = (*_HEAD, *numbers)
        super().__init__(kernel)
        self.spec = spec

    def emit(self) -> None:
        f = self.f
        names = "index", "starts", "order", "table"
        self.index, self.starts, self.order, self.table = (self.pointer(n) for n in names)
        self._clear(self.starts, self.slot("choices"))
        self._clear(self.order, self.slot("places"))
        self._clear(self.table, f.mul(self.slot("entries"), i64(ENTRY // 8)))
        item = f.loop(i64(0), self.slot("items"), i64(1))
        _, place, count = self._chosen(item.index)
        f.store(f.add(count, self.slot("rows")), place, 8)
        f.end_loop(item)
        self._blocks()
        item = f.loop(i64(0), self.slot("items"), i64(1))
        _, place, start = self._chosen(item.index)
        f.store(f.add(start, self.slot("rows")), place, 8)
        first = f.mul(item.index, self.slot("rows"))
        row = f.loop(i64(0), self.slot("rows"), i64(1))
        to = f.gep(self.order, f.add(start, row.index), "i64")
        f.store(f.add(first, row.index), to, 8)
        f.end_loop(row)
        f.end_loop(item)
        f.ret()

    def _clear(self, start: Value, count: Value) -> None:
        f = self.f
        loop = f.loop(i64(0), count, i64(1))
        f.store(i64(0), f.gep(start, loop.index, "i64"), 8)
        f.end_loop(loop)

    def _chosen(self, item: Value) -> tuple[Value, Value, Value]:
        """An item's matrix, where its number is kept, and that number."""
        f, dtype = self.f, dtype_named(self.spec.dtype)
        at = f.gep(self.index, f.mul(item, self.slot("index_step")))
        number = f.load(at, f"i{8 * dtype.size}", dtype.size)
        if dtype.size < 8:
            number = f.cast("sext" if dtype.is_signed else "zext", number, "i64")
        last = f.sub(self.slot("choices"), i64(1))
        number = f.select(f.icmp("ult", number, last), number, last)
        place = f.gep(self.starts, number, "i64")
        return number, place, f.load(place, "i64", 8)

    def _blocks(self) -> None:
        """From rows of each matrix to entries, and to the place of its first row."""
        f, classes = self.f, range(self.spec.classes)
        carried = [
            self.slot("place"),
            self.slot("entry"),
            *[self.slot(f"entry{c}") for c in classes],
        ]
        loop = f.loop(i64(0), self.slot("choices"), i64(1), carried)
        place, entry, *entries = loop.values
        at = f.gep(self.starts, loop.index, "i64")
        count = f.load(at, "i64", 8)
        left, first, target = count, place, self.slot("entries")
        for c in reversed(classes):
            inside = f.icmp("sle", count, self.slot(f"limit{c}"))
            before = f.sub(entries[c], self.slot(f"entry{c}"))
            its = f.add(self.slot(f"place{c}"), f.mul(before, self.slot(f"limit{c}")))
            first, target = f.select(inside, its, first), f.select(inside, entries[c], target)
            left = f.select(inside, i64(0), left)
        some = f.icmp("sgt", count, i64(0))
        target = f.select(some, target, self.slot("entries"))  # behind the last: nobody reads it
        self._entry(target, first, count, loop.index)
        blocks = self._large(place, entry, left, loop.index)
        f.store(first, at, 8)
        taken = [f.cast("zext", f.icmp("eq", target, e), "i64") for e in entries]
        new = [f.add(e, t) for e, t in zip(entries, taken, strict=True)]
        f.end_loop(loop, [f.add(place, left), f.add(entry, blocks), *new])

    def _large(self, place: Value, entry: Value, left: Value, matrix: Value) -> Value:
        """Blocks of about equal size, whole tiles; returns how many."""
        f, most = self.f, self.slot("block")
        blocks = self._ceil(left, most)
        step = self._ceil(left, f.max(blocks, i64(1)))
        step = f.mul(self._ceil(step, self.slot("even")), self.slot("even"))
        step = f.max(f.min(step, most), i64(1))
        loop = f.loop(i64(0), left, step, [entry])
        rows = f.min(f.sub(left, loop.index), step)
        self._entry(loop.values[0], f.add(place, loop.index), rows, matrix)
        (behind,) = f.end_loop(loop, [f.add(loop.values[0], i64(1))])
        return f.sub(behind, entry)

    def _ceil(self, a: Value, b: Value) -> Value:
        return self.f.op("udiv", self.f.sub(self.f.add(a, b), i64(1)), b)

    def _entry(self, number: Value, first: Value, rows: Value, matrix: Value) -> None:
        f = self.f
        at = f.gep(self.table, f.mul(number, i64(ENTRY)))
        for n, value in enumerate((first, rows, matrix)):
            f.store(value, f.gep(at, i64(8 * n)), 8)


@dataclass(frozen=True)
class Class:
    """Blocks of at most ``limit`` rows: how many, and their first place and entry."""

    limit: int
    blocks: int
    place: int
    entry: int


@dataclass(frozen=True)
class Layout:
    """The classes of few rows, and the last one."""

    few: tuple[Class, ...]
    many: Class
    places: int
    entries: int


def layout_of(limits: Sequence[int], block: int, rows: int, choices: int) -> Layout:
    """Room for whatever indices there may be."""
    few, place, entry, above = [], 0, 0, 0
    for limit in limits:
        blocks = least(choices, rows // (above + 1))
        few.append(Class(limit, blocks, place, entry))
        place, entry, above = place + blocks * limit, entry + blocks, limit
    groups = least(choices, rows // (above + 1))
    blocks = groups + rows // block if groups else 0
    many = Class(block, blocks, place, entry)
    return Layout(tuple(few), many, place + rows, entry + blocks)


def order_command(
    index: Operand, sizes: tuple[int, int, int], layout: Layout, even: int,
    starts: Pointer, order: Pointer, table: Pointer,
) -> Command:  # fmt: skip
    """``sizes``: items, rows of each, choices; ``even``: rows that blocks are multiples of."""
    many = layout.many
    consts = [
        *index.pointer.consts, *starts.consts, *order.consts, *table.consts,
        index.strides[0] * SIZES[index.dtype], *sizes, layout.places, layout.entries,
        many.limit, even, many.place, many.entry,
    ]  # fmt: skip
    for each in layout.few:
        consts += [each.limit, each.place, each.entry]
    moved = 8 * (layout.places + 2 * sizes[0] + 2 * sizes[2]) + ENTRY * layout.entries
    return Command(OrderSpec(index.dtype, len(layout.few)), consts, 1, "chosen order", moved)
