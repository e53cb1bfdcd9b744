"""Panels: x as products with quantized matrices read it.

For each chunk of 16 units (see ``Coding``) and each position j of a code in its unit, the 16
elements of x that meet the codes j of the 16 units; behind all chunks the sums of x over groups.
A panel holds ``columns`` rows of x, vector by vector; it is float32, with zeros behind the ends
of x.

With ``pairs`` the elements are pairs of bfloat16 instead: what meets code j and what meets code
j + half the codes of a word, for dot-product instructions.
"""

from __future__ import annotations

from math import prod

from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.gemm.elements import SIZES, Element
from mlx.backend.llvm.gemm.operand import batch_offsets, batch_table
from mlx.backend.llvm.gemm.pairs import join
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.quantized_coding import Coding
from mlx.backend.llvm.values import Value, const, i64, vector
from mlx.base.frozen import dataclass

LANES = 16
FLOATS = vector(LANES, "float")
WORDS = vector(LANES, "i32")
VECTOR = LANES * 4
"""Bytes of a chunk, and of a vector of a panel."""
SEGMENT = 32
"""Chunks that one task lays out."""
PACK_SLOTS = (
    "x_base", "x_offset", "out_base", "out_offset", "x_row", "x_k", "rows", "padded", "units",
    "chunks", "segments", "groups", "panel", "table", "dims",
)  # fmt: skip


def chunk_bytes(columns: int, codes: int, pairs: bool) -> int:
    """Bytes of one chunk of a panel: ``codes`` are those of a unit."""
    return columns * codes * VECTOR // (2 if pairs else 1)


@dataclass(frozen=True)
class PackSpec:
    """Lays x out in panels of ``columns`` rows, float32, zeros behind its ends."""

    dtype: str
    codes: int
    group: int
    columns: int
    pairs: bool

    @property
    def key(self) -> str:
        kind = " pairs" if self.pairs else ""
        return f"quantized_pack {self.dtype} {self.codes} {self.group} {self.columns}{kind}"

    def emit(self, module: Module, name: str) -> None:
        _Pack(self, Kernel(module, name)).emit()


class Named:
    """A kernel whose consts have names."""

    slots: tuple[str, ...]

    def __init__(self, kernel: Kernel) -> None:
        self.k, self.f = kernel, kernel.f
        for number in range(len(self.slots)):
            kernel.const(number)

    def slot(self, name: str) -> Value:
        return self.k.const(self.slots.index(name))

    def pointer(self, name: str) -> Value:
        return self.k.pointer(self.slots.index(name + "_base"))

    def split(self, index: Value, by: Value) -> tuple[Value, Value]:
        return self.f.op("udiv", index, by), self.f.op("urem", index, by)

    def batch(self, item: Value, operands: int) -> list[Value]:
        return batch_offsets(self.k, self.slot("table"), self.slot("dims"), item, operands)


class _Pack(Named):
    slots = PACK_SLOTS

    def __init__(self, spec: PackSpec, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.spec = spec
        self.per = spec.codes
        self.x = Element(spec.dtype, "float32")

    def emit(self) -> None:
        f, columns = self.f, self.spec.columns
        x, out = self.pointer("x"), self.pointer("out")
        rest, segment = self.split(self.k.task, f.add(self.slot("segments"), i64(1)))
        item, row = self.split(rest, self.slot("padded"))
        (offset,) = self.batch(item, 1)
        x = f.gep(f.gep(x, offset), f.mul(row, self.slot("x_row")))
        panel, column = self.split(rest, i64(columns))
        out = f.gep(out, f.mul(panel, self.slot("panel")))
        out = f.gep(out, f.mul(column, i64(VECTOR)))
        there = f.icmp("slt", row, self.slot("rows"))
        self.chunk = i64(chunk_bytes(columns, self.per, self.spec.pairs))
        behind = f.gep(out, f.mul(self.slot("chunks"), self.chunk))
        self._codes(x, out, segment, f.select(there, self.slot("units"), i64(0)))
        # one more segment sums over groups
        mine = f.icmp("eq", segment, self.slot("segments"))
        count = f.select(mine, self.slot("groups"), i64(0))
        self._sums(x, behind, count, f.select(there, count, i64(0)))
        f.ret()

    def _codes(self, x: Value, out: Value, segment: Value, units: Value) -> None:
        """What meets the codes, for the chunks of one segment."""
        f, columns = self.f, self.spec.columns
        first = f.mul(segment, i64(SEGMENT))
        last = f.min(f.add(first, i64(SEGMENT)), self.slot("chunks"))
        apart = f.mul(self.slot("x_k"), i64(self.per))
        loop = f.loop(first, last, i64(1))
        unit = f.mul(loop.index, i64(LANES))
        here, left = f.gep(x, f.mul(unit, apart)), f.sub(units, unit)
        there = f.gep(out, f.mul(loop.index, self.chunk))
        half = self.per // 2
        for _ in range(half if self.spec.pairs else self.per):
            if self.spec.pairs:
                other = f.gep(here, f.mul(self.slot("x_k"), i64(half)))
                places = (here, other)
                value = join(f, *[self.x.gather_bits(f, p, apart, LANES, left) for p in places])
            else:
                (value,) = self.x.load_strided(f, here, apart, LANES, left)
            f.store(value, there, VECTOR)
            here, there = f.gep(here, self.slot("x_k")), f.gep(there, i64(VECTOR * columns))
        f.end_loop(loop)

    def _sums(self, x: Value, out: Value, groups: Value, present: Value) -> None:
        """x over groups, elements in their order; zeros behind the ``present`` ones."""
        f = self.f
        apart = f.mul(self.slot("x_k"), i64(self.spec.group))
        loop = f.loop(i64(0), groups, i64(LANES))
        here, left = f.gep(x, f.mul(loop.index, apart)), f.sub(present, loop.index)
        inner = f.loop(i64(0), i64(self.spec.group), i64(1), [const(FLOATS, 0)])
        at = f.gep(here, f.mul(inner.index, self.slot("x_k")))
        (value,) = self.x.load_strided(f, at, apart, LANES, left)
        (total,) = f.end_loop(inner, [f.add(inner.values[0], value)])
        f.store(total, f.gep(out, f.mul(loop.index, i64(4 * self.spec.columns))), VECTOR)
        f.end_loop(loop)


def pack_rows(
    coding: Coding, x: Operand, sizes: tuple[int, int, int, int], packed: Pointer, pairs: bool
) -> Command:
    """Lay x out; ``sizes``: units of a row of w, rows of x a panel, rows of x with those that
    fill the last panel, bytes of a panel."""
    units, columns, padded, panel = sizes
    *batch, m, k = x.shape
    size = SIZES[x.dtype]
    *lead, row, step = (s * size for s in x.strides)
    chunks = -(-units // LANES)
    groups = k // coding.group if coding.biased else 0
    segments = -(-chunks // SEGMENT)
    consts = [
        *x.pointer.consts, *packed.consts, row, step, m, padded, units, chunks, segments,
        groups, panel, len(PACK_SLOTS), len(batch), *batch_table(batch, lead),
    ]  # fmt: skip
    spec = PackSpec(x.dtype, coding.codes, coding.group, columns, pairs)
    tasks = prod(batch) * padded * (segments + 1)
    return Command(spec, consts, tasks, "quantized pack", prod(x.shape) * size)
