"""The epilogue of a matrix product: fused elementwise work on each tile before it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import compute, text_of
from mlx.backend.llvm.gemm.operand import batch_offsets, batch_table
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, i64, lanes_of
from mlx.base import dtype as dt
from mlx.compiler.nest import Argument, Expression, Index, Load, Tile


@dataclass(frozen=True, slots=True)
class Place:
    """An operand of the epilogue: base index, byte offset, byte strides."""

    base: int
    offset: int
    batch: tuple[int, ...]
    row: int
    col: int
    size: int

    @property
    def kind(self) -> str:
        if self.col == 0:
            return "zero"
        return "unit" if self.col == self.size else "strided"


@dataclass(frozen=True)
class FusedEpilogue:
    """Values over the tile, and which of them are stored where."""

    values: tuple[Expression, ...]
    places: tuple[Place, ...]
    stores: tuple[tuple[int, int], ...]
    arguments: tuple[int, ...]
    batch_shape: tuple[int, ...]

    @property
    def key(self) -> str:
        parts = [text_of(e) for e in self.values]
        parts += [p.kind + str(p.size) for p in self.places]
        return ";".join([*parts, repr(self.stores), str(len(self.arguments))])

    @property
    def consts(self) -> Sequence[int]:
        out = list(self.arguments)
        for p in self.places:
            out += [p.base, p.offset, p.row, p.col]
        table = batch_table(self.batch_shape, *[p.batch for p in self.places])
        return [*out, len(self.batch_shape), *table]

    @property
    def by_columns(self) -> bool:
        """Whether results go to matrices whose columns, not rows, lie side by side."""
        targets = [self.places[place] for _, place in self.stores]
        return all(t.row == t.size != t.col for t in targets)

    def swapped(self) -> FusedEpilogue:
        """The same with rows and columns exchanged."""
        turned = tuple(replace(p, row=p.col, col=p.row) for p in self.places)
        return replace(self, places=turned)

    def destination(
        self, kernel: Kernel, context: dict[str, Any], dtype: str
    ) -> tuple[Value, Value] | None:
        """Where accumulators go if they are only to be stored, rounded to ``dtype``."""
        if len(self.stores) != 1:
            return None
        value, place = self.values[self.stores[0][0]], self.stores[0][1]
        plain = isinstance(value, Tile) and value.dtype.name == dtype != "complex64"
        if not plain or self.places[place].kind != "unit":
            return None
        return context["pointers"][place], context["rows"][place]

    def begin(self, kernel: Kernel, slot: int) -> dict[str, Any]:
        f = kernel.f
        addresses = [
            f.gep(kernel.bases, kernel.const(slot + i), "i64") for i in range(len(self.arguments))
        ]
        slot += len(self.arguments)
        pointers, rows, cols = [], [], []
        for _ in self.places:
            pointers.append(kernel.pointer(slot))
            rows.append(kernel.const(slot + 2))
            cols.append(kernel.const(slot + 3))
            slot += 4
        return {
            "arguments": addresses,
            "pointers": pointers,
            "rows": rows,
            "cols": cols,
            "dims": kernel.const(slot),
            "table": i64(slot + 1),
        }

    def batch(self, kernel: Kernel, state: dict[str, Any], batch_index: Value) -> dict[str, Any]:
        offsets = batch_offsets(
            kernel, state["table"], state["dims"], batch_index, len(self.places)
        )
        moved = [kernel.f.gep(p, o) for p, o in zip(state["pointers"], offsets, strict=True)]
        return {**state, "pointers": moved}

    def store(
        self,
        kernel: Kernel,
        context: dict[str, Any],
        value: Any,
        row: Value,
        col: Value,
        mask: Value | None,
    ) -> None:
        tile = value if isinstance(value, tuple) else (value,)
        at = _Tile(kernel, self, context, tile, row, col, mask)
        for result, place in self.stores:
            at.store(at.values[result], place)


class _Tile:
    """The evaluation of an epilogue's values on one vector of accumulators."""

    def __init__(
        self,
        kernel: Kernel,
        epilogue: FusedEpilogue,
        context: dict[str, Any],
        tile: tuple[Value, ...],
        row: Value,
        col: Value,
        mask: Value | None,
    ) -> None:
        self.f = kernel.f
        self.lanes = lanes_of(tile[0].type)
        self.e = LaneEmitter(self.f, self.lanes)
        self.places = epilogue.places
        self.context = context
        self.row, self.col, self.mask = row, col, mask
        self.tile = tile
        self.values: list[Lane] = []
        for expression in epilogue.values:
            self.values.append(self._value(expression))

    def _row_pointer(self, place: int) -> Value:
        f, c = self.f, self.context
        return f.gep(c["pointers"][place], f.mul(self.row, c["rows"][place]))

    def _address(self, place: int) -> Value:
        f = self.f
        return f.gep(self._row_pointer(place), f.mul(self.col, self.context["cols"][place]))

    def _addresses(self, place: int) -> Value:
        """One address a lane; masked lanes repeat the first column's, which is readable."""
        f = self.f
        pointer, stride = self._row_pointer(place), self.context["cols"][place]
        spread = memory.strided_addresses(f, pointer, self.col, stride, self.lanes, None)
        if self.mask is None:
            return spread
        first = f.splat(self._address(place), self.lanes)
        return f.select(self.mask, spread, first)

    def _value(self, expression: Expression) -> Lane:
        e = self.e
        if isinstance(expression, Tile):
            return self._accumulators(expression)
        if isinstance(expression, Argument):
            address = self.context["arguments"][expression.position]
            return memory.load_splat(e, address, expression.dtype)
        if isinstance(expression, Load):
            return self._load(expression)
        if isinstance(expression, Index):
            return self._index(expression)
        return compute(e, expression, self.values)

    def _accumulators(self, expression: Tile) -> Lane:
        d, value = expression.dtype, self.tile[0]
        if d.is_complex:
            return Lane(d, value, self.tile[1])
        if d.is_float:
            return self.e.rounded(value, d)
        accumulated = {1: dt.int8, 2: dt.int16, 4: dt.int32, 8: dt.int64}[_bytes(value)]
        return Lane(d, self.e.cast(Lane(accumulated, value), d).v)

    def _load(self, expression: Load) -> Lane:
        kind = self.places[expression.access].kind
        if kind == "zero":
            return memory.load_splat(self.e, self._row_pointer(expression.access), expression.dtype)
        if kind == "unit":
            address = self._address(expression.access)
            return memory.load_unit(self.e, address, expression.dtype, self.mask)
        return memory.load_strided(self.e, self._addresses(expression.access), expression.dtype)

    def _index(self, expression: Index) -> Lane:
        place = expression.access
        spread = memory.strided_addresses(
            self.f,
            self._row_pointer(place),
            self.col,
            self.context["cols"][place],
            self.lanes,
            None,
        )
        type = f"<{self.lanes} x i64>"
        at = self.f.emit(f"ptrtoint {spread.type} {spread.ref} to {type}", type)
        return self.e.cast(Lane(dt.int64, at), expression.dtype)

    def store(self, lane: Lane, place: int) -> None:
        if self.places[place].kind == "unit":
            memory.store_unit(self.e, lane, self._address(place), self.mask)
        else:
            memory.store_strided(self.e, lane, self._addresses(place), self.mask)


def _bytes(value: Value) -> int:
    return int(value.type[value.type.index("x i") + 3 : -1]) // 8
