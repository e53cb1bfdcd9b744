"""The second kernel of a long matrix-vector product: add the chunks' sums pairwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel, Pointer
from mlx.backend.llvm.gemm.elements import first_lanes, llvm_type
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.gemm.tile import tile_for
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import (
    Value,
    bits_of,
    const,
    element_of,
    i64,
    lane_consts,
    vector,
    with_element,
)

SLOTS = ("sums_base", "sums_offset", "outputs", "pitch", "chunks", "levels", "block", "blocks")
EPILOGUE_SLOT = len(SLOTS)


@dataclass(frozen=True)
class CombineSpec:
    """Sums lie as [batch, chunk, plane, pitch] in accumulator type and are used up."""

    accumulate: str
    row: bool
    epilogue: Epilogue

    @property
    def key(self) -> str:
        return f"gemvsum|{self.accumulate}|{'row' if self.row else 'col'}|{self.epilogue.key}"

    def emit(self, module: Module, name: str) -> None:
        _Combine(self, module, name).emit()


class _Combine:
    def __init__(self, spec: CombineSpec, module: Module, name: str) -> None:
        self.spec, self.tile = spec, tile_for(spec.accumulate)
        self.type = vector(self.tile.lanes, llvm_type(spec.accumulate))
        self.kernel = Kernel(module, name)
        self.f = self.kernel.f

    def emit(self) -> None:
        f, kernel, tile = self.f, self.kernel, self.tile
        sums = kernel.pointer(0)
        outputs, pitch, chunks, levels, block, blocks = map(kernel.const, range(2, 8))
        state = self.spec.epilogue.begin(kernel, EPILOGUE_SLOT)
        batch = f.op("udiv", kernel.task, blocks)
        start = f.mul(f.op("urem", kernel.task, blocks), block)
        stop = f.add(start, f.min(f.sub(outputs, start), block))
        context = self.spec.epilogue.batch(kernel, state, batch)
        self.plane = f.mul(pitch, i64(tile.itemsize))
        self.chunk = f.mul(self.plane, i64(tile.planes))
        item = f.gep(sums, f.mul(f.mul(batch, chunks), self.chunk))
        loop = f.loop(start, stop, i64(tile.lanes))
        here = f.gep(item, f.mul(loop.index, i64(tile.itemsize)))
        self._tree(here, chunks, levels)
        values = [
            f.load(f.gep(here, f.mul(self.plane, i64(p))), self.type, tile.itemsize)
            for p in range(tile.planes)
        ]
        self._finish(context, values, loop.index, f.sub(stop, loop.index))
        f.end_loop(loop)
        f.ret()

    def _tree(self, here: Value, chunks: Value, levels: Value) -> None:
        """Chunk i gets chunk i + distance, for i a multiple of 2 * distance."""
        f = self.f
        level = f.loop(i64(0), levels, i64(1), [i64(1)])
        (distance,) = level.values
        double = f.op("shl", distance, i64(1))
        pair = f.loop(i64(0), f.sub(chunks, distance), double)
        for plane in range(self.tile.planes):
            start = f.gep(here, f.mul(self.plane, i64(plane)))
            low = f.gep(start, f.mul(pair.index, self.chunk))
            high = f.gep(low, f.mul(distance, self.chunk))
            size = self.tile.itemsize
            f.store(f.add(f.load(low, self.type, size), f.load(high, self.type, size)), low, size)
        f.end_loop(pair)
        f.end_loop(level, [double])

    def _finish(self, context: Any, values: list[Value], index: Value, left: Value) -> None:
        f, lanes, epilogue = self.f, self.tile.lanes, self.spec.epilogue
        value: Any = tuple(values) if len(values) == 2 else values[0]
        if self.spec.row:
            mask = first_lanes(f, left, lanes)
            epilogue.store(self.kernel, context, value, i64(0), index, mask)
            return
        one = lane_consts(with_element(self.type, "i1"), [1] + [0] * (lanes - 1))
        lane = f.loop(i64(0), f.min(left, i64(lanes)), i64(1))
        picked = [f.insert(const(self.type, 0), f.extract(v, lane.index), 0) for v in values]
        single: Any = tuple(picked) if len(picked) == 2 else picked[0]
        epilogue.store(self.kernel, context, single, f.add(index, lane.index), i64(0), one)
        f.end_loop(lane)


@dataclass(frozen=True, slots=True)
class SumsEpilogue:
    """Keeps the sums of chunks as ``CombineSpec`` reads them; the batch index has the chunk."""

    place: Pointer
    pitch: int

    key = "sums"

    @property
    def consts(self) -> list[int]:
        return [*self.place.consts, self.pitch]

    def begin(self, kernel: Kernel, slot: int) -> tuple[Value, Value]:
        return kernel.pointer(slot), kernel.const(slot + 2)

    def batch(self, kernel: Kernel, state: tuple[Value, Value], batch_index: Value) -> Any:
        return (*state, batch_index)

    def store(
        self, kernel: Kernel, context: Any, value: Any, row: Value, col: Value,
        mask: Value | None,
    ) -> None:  # fmt: skip
        f = kernel.f
        pointer, pitch, item = context
        planes = value if isinstance(value, tuple) else (value,)
        output = f.add(row, col)
        for plane, numbers in enumerate(planes):
            size = bits_of(element_of(numbers.type)) // 8
            line = f.add(f.mul(item, i64(len(planes))), i64(plane))
            at = f.gep(pointer, f.mul(f.add(f.mul(line, pitch), output), i64(size)))
            if mask is None:
                f.store(numbers, at, size)
            else:
                f.masked_store(numbers, at, mask, size)
