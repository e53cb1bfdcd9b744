"""Operands and epilogues of a product: what callers hand to ``plan_gemm``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Protocol

from mlx.backend.llvm.abi import Kernel, Pointer
from mlx.backend.llvm.gemm.elements import SIZES, llvm_type
from mlx.backend.llvm.gemm.narrow import narrowed
from mlx.backend.llvm.gemm.tile import GENERAL, UNIT_COL, UNIT_ROW
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import (
    Value,
    bits_of,
    i64,
    lane_consts,
    lanes_of,
    mangle,
    vector,
    with_element,
)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A view of an operand, all strides in elements.

    Element (batch..., i, j) lies at ``pointer`` + (sum of batch index * batch stride +
    i * row_stride + j * col_stride) * itemsize; a batch stride is 0 where broadcast.
    """

    pointer: Pointer
    dtype: str
    batch_strides: tuple[int, ...]
    row_stride: int
    col_stride: int

    @property
    def layout(self) -> str:
        if self.col_stride == 1:
            return UNIT_COL
        return UNIT_ROW if self.row_stride == 1 else GENERAL

    @property
    def transposed(self) -> Matrix:
        return Matrix(
            self.pointer, self.dtype, self.batch_strides, self.col_stride, self.row_stride
        )


class Epilogue(Protocol):
    """What happens to accumulators: it takes each once, in no promised order, and stores.

    ``store`` receives a vector of accumulators for columns col..col+L-1 of one row (a pair of
    vectors, real and imaginary, for complex64); ``mask`` None means all lanes.  ``begin`` is
    called once in the entry block, with the slot of the first of ``consts``; ``batch`` where
    the flat batch index is known.

    Optional: ``swapped()`` returns the epilogue that takes rows for columns; with it, a column
    vector of results is stored by whole vectors instead of one by one.  ``by_columns``: whether
    that holds for all results.
    ``destination(kernel, context, dtype)`` returns address and row pitch in bytes of a result
    that takes accumulators as they are, rounded to ``dtype``, columns side by side; or None.
    ``block(kernel, state, item)`` returns batch index, first row and rows of an item where these
    are known only when the kernel runs.
    """

    @property
    def key(self) -> str: ...

    @property
    def consts(self) -> Sequence[int]: ...

    def begin(self, kernel: Kernel, slot: int) -> Any: ...

    def batch(self, kernel: Kernel, state: Any, batch_index: Value) -> Any: ...

    def store(
        self,
        kernel: Kernel,
        context: Any,
        value: Any,
        row: Value,
        col: Value,
        mask: Value | None,
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Product:
    """What is to be planned: ``a @ b`` ([batch, m, k] by [batch, k, n]) through ``epilogue``.

    ``scratch(nbytes)`` gives 64-byte aligned memory that lives as long as the commands.  The
    result doesn't depend on ``workers``.
    """

    a: Matrix
    b: Matrix
    m: int
    n: int
    k: int
    batch: tuple[int, ...]
    epilogue: Epilogue
    accumulate: str
    scratch: Callable[[int], Pointer]
    workers: int
    choices: int = 0
    """Matrices that items choose from, where the epilogue says which (``block``)."""

    def swapped(self) -> Product:
        """The product of the transposed operands, whose epilogue has a ``swapped``: the same."""
        a, b, epilogue = self.b.transposed, self.a.transposed, self.epilogue.swapped()  # type: ignore[attr-defined]
        return replace(self, a=a, b=b, m=self.n, n=self.m, epilogue=epilogue)

    @property
    def items(self) -> int:
        """Products in the batch."""
        return prod(self.batch)

    @property
    def table(self) -> list[int]:
        """The batch table of both operands, strides in bytes."""
        a, b = self.a, self.b
        strides = [[s * SIZES[x.dtype] for s in x.batch_strides] for x in (a, b)]
        return batch_table((self.choices,) if self.choices else self.batch, *strides)


def batch_offsets(
    kernel: Kernel, table: Value, dims: Value, index: Value, operands: int
) -> list[Value]:
    """Offsets of a flat batch index in each operand.

    ``table`` is the slot of ``dims`` entries, innermost first: a size, then a stride for each
    operand.
    """
    f = kernel.f
    start = f.gep(kernel.consts, table, "i64")
    loop = f.loop(i64(0), dims, i64(1), [index, start, *[i64(0)] * operands])
    rest, entry, *offsets = loop.values
    size, *strides = [f.load(f.gep(entry, i64(8 * n)), "i64", 8) for n in range(operands + 1)]
    coordinate = f.op("urem", rest, size)
    moved = [f.add(o, f.mul(coordinate, s)) for o, s in zip(offsets, strides, strict=True)]
    following = [f.op("udiv", rest, size), f.gep(entry, i64(8 * (operands + 1))), *moved]
    return f.end_loop(loop, following)[2:]


def item_of(
    kernel: Kernel, epilogue: Epilogue, state: Any, item: Value, rows: Value
) -> tuple[Value, Value, Value]:
    """The batch index of an item of a batch, its first row and its number of rows."""
    find = getattr(epilogue, "block", None)
    return find(kernel, state, item) if find else (item, i64(0), rows)


def round_up(number: int, step: int) -> int:
    """The least multiple of ``step`` that is not below ``number``."""
    return -(-number // step) * step


def batch_table(batch: Sequence[int], *strides: Sequence[int]) -> list[int]:
    """The table that ``batch_offsets`` reads."""
    rows = zip(batch, *strides, strict=True)
    return [number for row in reversed(list(rows)) for number in row]


@dataclass(frozen=True, slots=True)
class StoreEpilogue:
    """Cast to ``out.dtype`` and store to a strided output; no two elements may share a place."""

    out: Matrix
    batch_shape: tuple[int, ...]

    @property
    def key(self) -> str:
        contiguous = "unit" if self.out.col_stride == 1 else "strided"
        return f"store_{self.out.dtype}_{contiguous}"

    @property
    def consts(self) -> list[int]:
        out = self.out
        size = SIZES[out.dtype]
        table = batch_table(self.batch_shape, [s * size for s in out.batch_strides])
        head = [*out.pointer.consts, out.row_stride * size, out.col_stride * size]
        return [*head, len(self.batch_shape), *table]

    def swapped(self) -> StoreEpilogue:
        return StoreEpilogue(self.out.transposed, self.batch_shape)

    def begin(self, kernel: Kernel, slot: int) -> list[Value]:
        return [kernel.pointer(slot), *[kernel.const(slot + n) for n in (2, 3, 4)], i64(slot + 5)]

    def batch(self, kernel: Kernel, state: list[Value], batch_index: Value) -> list[Value]:
        pointer, row_stride, col_stride, dims, table = state
        (offset,) = batch_offsets(kernel, table, dims, batch_index, 1)
        return [kernel.f.gep(pointer, offset), row_stride, col_stride]

    def destination(
        self, kernel: Kernel, context: list[Value], dtype: str
    ) -> tuple[Value, Value] | None:
        plain = self.out.dtype == dtype != "complex64" and self.out.col_stride == 1
        return (context[0], context[1]) if plain else None

    def store(
        self,
        kernel: Kernel,
        context: list[Value],
        value: Any,
        row: Value,
        col: Value,
        mask: Value | None,
    ) -> None:
        f = kernel.f
        pointer, row_stride, col_stride = context
        address = f.gep(f.gep(pointer, f.mul(row, row_stride)), f.mul(col, col_stride))
        planes = [
            narrowed(f, v, self.out.dtype)
            for v in (value if isinstance(value, tuple) else (value,))
        ]
        if self.out.col_stride == 1:
            self._store_run(f, planes, address, mask)
        else:
            self._store_apart(f, planes, address, col_stride, mask)

    def _store_run(
        self, f: Function, planes: list[Value], address: Value, mask: Value | None
    ) -> None:
        value, lanes = planes[0], lanes_of(planes[0].type)
        align = bits_of(llvm_type(self.out.dtype)) // 8
        if len(planes) == 2:
            mixed = [lane for n in range(lanes) for lane in (n, n + lanes)]
            value = f.shuffle(planes[0], planes[1], mixed)
            if mask is not None:
                mask = f.shuffle(mask, None, [n // 2 for n in range(2 * lanes)])
        if mask is None:
            f.store(value, address, align)
        else:
            f.masked_store(value, address, mask, align)

    def _store_apart(
        self, f: Function, planes: list[Value], address: Value, stride: Value, mask: Value | None
    ) -> None:
        lanes = lanes_of(planes[0].type)
        index = lane_consts(vector(lanes, "i64"), range(lanes))
        offsets = f.mul(index, f.splat(stride, lanes))
        align = bits_of(llvm_type(self.out.dtype)) // 8
        allowed = mask.ref if mask is not None else "splat (i1 true)"
        where = vector(lanes, "ptr")
        for plane, value in enumerate(planes):
            start = f.gep(address, i64(plane * align))
            to = f.emit(f"getelementptr i8, ptr {start.ref}, {offsets.type} {offsets.ref}", where)
            name = f"llvm.masked.scatter.{mangle(value.type)}.v{lanes}p0"
            mask_type = with_element(value.type, "i1")
            f.module.declare(name, "void", [value.type, where, mask_type])
            f.do(
                f"call void @{name}({value.type} {value.ref}, {where} align {align} {to.ref}, "
                f"{mask_type} {allowed})"
            )
