"""float16 as the sum of two bfloat16 numbers (8 + 3 bits), for instructions that multiply those.

The split is exact.  A number that one bfloat16 holds is split into two equal halves, so that an
infinity meets two numbers of one sign, and no zero that the number hasn't got.  An element of A
is the pair of both parts; B has a plane for each part, every part twice: the dot products of a
pair with both planes are the four products of the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, const, i64


@dataclass(frozen=True, slots=True)
class Halves(Element):
    """Loaders of float16: one vector of pairs for A, or with ``right`` two planes for B."""

    right: bool = False

    @property
    def name(self) -> str:
        return f"{self.dtype}_{self.accumulate}_{'right' if self.right else 'left'}"

    def along(
        self, f: Function, address: Value, k_stride: Value, lanes: int, left: Value | None,
        unit: bool,
    ) -> list[Value]:  # fmt: skip
        return self._across(f, address, k_stride, lanes, left, unit)

    def across(
        self, f: Function, address: Value, stride: Value, k_stride: Value, lanes: int,
        count: Value | None, left: Value, unit: bool,
    ) -> list[Value]:  # fmt: skip
        return self._across(f, address, stride, lanes, count, unit)

    def _across(
        self, f: Function, address: Value, stride: Value, lanes: int, count: Value | None,
        unit: bool,
    ) -> list[Value]:  # fmt: skip
        if unit:
            (number,) = self.load_run(f, address, lanes, count)
        else:
            every = count if count is not None else i64(lanes)
            (number,) = self.load_strided(f, address, stride, lanes, every)
        high, low = _parts(f, number)
        if self.right:
            return [_pair(f, high, high), _pair(f, low, low)]
        return [_pair(f, high, low)]


def _parts(f: Function, number: Value) -> tuple[Value, Value]:
    """The bits of two bfloat16 numbers whose sum it is, each in the upper half of a float32."""
    bits = f.cast("bitcast", number, "i32")
    top = f.op("and", bits, const(bits.type, -65536))
    rest = f.sub(number, f.cast("bitcast", top, "float"))
    half = f.cast("bitcast", f.mul(number, const(number.type, 0.5)), "i32")
    short = f.icmp("eq", top, bits)
    return f.select(short, half, top), f.select(short, half, f.cast("bitcast", rest, "i32"))


def _pair(f: Function, first: Value, second: Value) -> Value:
    """The upper halves of both, the first one in the lower half."""
    upper = f.op("and", second, const(second.type, -65536))
    return f.op("or", f.op("lshr", first, const(first.type, 16)), upper)
