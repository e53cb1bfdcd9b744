"""The epilogue of a phase: its positions lie apart in the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.convolution.geometry import Phase, Three
from mlx.backend.llvm.gemm.operand import Epilogue
from mlx.backend.llvm.values import Value


@dataclass(frozen=True)
class PhaseEpilogue:
    """Rows are positions of a phase; ``inner`` takes them as rows of the whole result."""

    inner: Epilogue
    phase: Phase
    places: Three

    @property
    def key(self) -> str:
        return f"phase|{self.inner.key}"

    @property
    def consts(self) -> Sequence[int]:
        """Start, then for each axis, last first, count and stride; the stride of an item."""
        _, height, width = self.places
        strides = (height * width, width, 1)
        start, table = 0, []
        for line, stride in zip(self.phase.axes, strides, strict=True):
            start += line.first * stride
            table += [line.every * stride, line.count]
        size = self.places[0] * height * width
        return [start, size, *table, *self.inner.consts]

    def begin(self, kernel: Kernel, slot: int) -> Any:
        own = [kernel.const(slot + i) for i in range(8)]
        return own, self.inner.begin(kernel, slot + 8)

    def batch(self, kernel: Kernel, state: Any, batch_index: Value) -> Any:
        own, inner = state
        return own, self.inner.batch(kernel, inner, batch_index)

    def store(
        self, kernel: Kernel, context: Any, value: Any, row: Value, col: Value, mask: Value | None
    ) -> None:
        f = kernel.f
        (start, size, *table), inner = context
        at, rest = start, row
        for axis in (2, 1, 0):
            stride, count = table[2 * axis : 2 * axis + 2]
            at = f.add(at, f.mul(f.op("urem", rest, count), stride))
            rest = f.op("udiv", rest, count)
        at = f.add(at, f.mul(rest, size))
        self.inner.store(kernel, inner, value, at, col, mask)
