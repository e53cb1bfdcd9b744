"""What kernels have in common that read both operands of a product where they lie."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.gemm.operand import Product
from mlx.backend.llvm.gemm.tile import tile_for, tile_of_product
from mlx.backend.llvm.values import Value, vector


class Unpacked:
    """The elements of both operands, a vector of sums, and the consts by their names."""

    def __init__(self, spec: Any, kernel: Kernel, slots: tuple[str, ...]) -> None:
        self.spec, self.kernel, self.f, self.slots = spec, kernel, kernel.f, slots
        self.a = Element(spec.a_dtype, spec.accumulate)
        self.b = Element(spec.b_dtype, spec.accumulate)
        self.tile = tile_for(spec.accumulate)
        self.lanes, self.size = self.tile.lanes, self.tile.itemsize
        self.type = vector(self.lanes, self.b.acc)
        for slot in range(len(slots)):
            kernel.const(slot)  # loaded at the entry, which dominates every use

    def slot(self, name: str) -> Value:
        return self.kernel.const(self.slots.index(name))

    def pointers(self) -> list[Value]:
        """The addresses of a, b and scratch."""
        return [self.kernel.pointer(self.slots.index(p + "_base")) for p in ("a", "b", "scratch")]


def is_plain(p: Product) -> bool:
    """Whether such a kernel can compute it, and the blocked product has no instruction of its
    own for these dtypes."""
    if not p.accumulate.startswith(("float", "int")):
        return False
    return tile_of_product(p.a.dtype, p.b.dtype, p.accumulate) == tile_for(p.accumulate)
