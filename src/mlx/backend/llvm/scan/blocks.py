"""Scans of consecutive elements in several vectors: shifts, loads and stores of such blocks."""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.scan.common import Scan, ScanSpec
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import dtype_named

Block = list[Lane]


class BlockScan(Scan):
    """Emission with vectors of 64 bytes of the accumulator."""

    def __init__(self, spec: ScanSpec, kernel: Kernel) -> None:
        super().__init__(spec, kernel, 64 // accumulator(dtype_named(spec.dtype)).size)
        self.reverse: bool = spec.primitive.reverse
        self.edge = Lane(self.acc, *[self._unseen(p) for p in self.identity.parts])

    def _unseen(self, constant: Value) -> Value:
        """A constant in a register: shifts that are seen to bring in zeros become expand
        instructions, four times as slow as permutations on some processors."""
        f = self.f
        place = f.alloca(constant.type)
        f.store(constant, place, 64)
        return f.emit(f"load volatile {constant.type}, ptr {place.ref}, align 64", constant.type)

    def combined(self, first: Block, second: Block) -> Block:
        return [self.combine(a, b) for a, b in zip(first, second, strict=True)]

    def parts(self, block: Block) -> list[Value]:
        return [part for lane in block for part in lane.parts]

    def block(self, parts: Sequence[Value]) -> Block:
        """Of the values that :meth:`parts` lists."""
        count = len(self.identity.parts)
        return [Lane(self.acc, *parts[i : i + count]) for i in range(0, len(parts), count)]

    def kept(self, x: Lane, mask: Value) -> Lane:
        """The identity outside a mask."""
        f = self.f
        pairs = zip(x.parts, self.identity.parts, strict=True)
        return Lane(self.acc, *[f.select(mask, p, q) for p, q in pairs])

    def shifted(self, block: Block, by: int) -> Block:
        """Each element takes the one ``by`` places before it in the scan's direction; the first
        ones the identity."""
        lanes, count = self.e.lanes, len(block)
        out = []
        for v in range(count):
            first = v * lanes + (by if self.reverse else -by)
            number, offset = divmod(first, lanes)
            pair = [block[n] if 0 <= n < count else self.edge for n in (number, number + 1)]
            out.append(self._joined(pair[0], pair[1], offset))
        return out

    def _joined(self, low: Lane, high: Lane, offset: int) -> Lane:
        """Consecutive lanes of two vectors."""
        lanes = self.e.lanes
        if not offset:
            return low
        pairs = zip(low.parts, high.parts, strict=True)
        picked = range(offset, offset + lanes)
        return Lane(self.acc, *[self.f.shuffle(p, q, picked) for p, q in pairs])

    def load_block(self, start: Value, count: int, masks: list[Value] | None) -> Block:
        """Consecutive elements from memory."""
        f, e = self.f, self.e
        lanes = []
        for v in range(count):
            here = f.gep(start, i64(v * e.lanes * self.dtype.size))
            lane = memory.load_unit(e, here, self.dtype, None if masks is None else masks[v])
            lanes.append(Lane(self.acc, *lane.parts))
        return lanes

    def store_block(
        self, block: Block, start: Value, masks: list[Value] | None, stream: bool
    ) -> None:
        f, e = self.f, self.e
        for v, lane in enumerate(block):
            here = f.gep(start, i64(v * e.lanes * self.dtype.size))
            mask = None if masks is None else masks[v]
            memory.store_unit(e, self.narrowed(lane), here, mask, stream)
