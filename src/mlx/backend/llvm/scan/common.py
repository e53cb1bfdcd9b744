"""What the kernels of scans share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.expressions import accumulator
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.dtype import dtype_named
from mlx.base.frozen import dataclass

WHOLE, TOTALS, PART = "whole", "totals", "part"
"""What a kernel does: whole rows; the totals of chunks; chunks whose totals are known."""


@dataclass(frozen=True)
class ScanSpec:
    primitive: Any
    dtype: str
    depth: int
    units: tuple[bool, ...]
    """Which operands, the result last, have unit stride along the vectors."""
    mode: str = WHOLE
    chunked: bool = False

    @property
    def key(self) -> str:
        p = self.primitive
        units = "".join("01"[u] for u in self.units)
        return (
            f"{type(self).__name__} {p.name} {p.reverse} {p.inclusive} {self.dtype} "
            f"{self.depth} {units} {self.mode} {self.chunked}"
        )


class Scan:
    """What all kernels share: dtypes, the operation, its identity."""

    def __init__(self, spec: ScanSpec, kernel: Kernel, lanes: int) -> None:
        self.spec, self.k, self.f = spec, kernel, kernel.f
        self.dtype = dtype_named(spec.dtype)
        self.acc = accumulator(self.dtype)
        self.e = LaneEmitter(self.f, lanes)
        self.identity = self.e.const(spec.primitive.identity(self.acc), self.acc)

    def combine(self, carry: Lane, *values: Lane) -> Lane:
        return self.spec.primitive.combine(self.e, carry, *values)

    def scaled(self, index: Value) -> Value:
        return self.f.mul(index, i64(self.dtype.size))

    def bytes_to(self, at: Value, places: Sequence[int], step: Value, mask: Value | None) -> Value:
        """Bytes to elements ``step`` apart, so many places behind ``at``; outside a mask 0."""
        f, lanes = self.f, len(places)
        type = vector(lanes, "i64")
        indices = f.add(f.splat(at, lanes), lane_consts(type, places))
        if mask is not None:
            indices = f.select(mask, indices, const(type, 0))
        return f.mul(indices, f.splat(step, lanes))

    def narrowed(self, y: Lane) -> Lane:
        return y if self.acc is self.dtype else self.e.rounded(y.v, self.dtype)
