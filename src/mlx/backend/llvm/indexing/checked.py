"""Indices as checked positions, a vector of them at once."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.indexing.loops import WORD, Axis, stop_unless
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.values import Value, const, i64, lane_consts, vector
from mlx.base.dtype import Dtype


class CheckedIndices:
    """Loads the indices along one axis; a bad one ends the kernel with ``code``.

    ``step`` says how they lie along the loop: ``unit``, ``same`` or ``strided``, by ``stride``.
    """

    def __init__(
        self, k: Kernel, e: LaneEmitter, code: int, dtype: Dtype, axis: Axis, step: str,
        stride: Value,
    ) -> None:  # fmt: skip
        self.k = k
        self.e = e
        self.code = code
        self.dtype = dtype
        self.axis = axis
        self.step = step
        self.stride = stride

    def positions(self, base: Value, j: Value, mask: Value | None) -> Value:
        """Checked positions from the j-th index on, one a lane (i64)."""
        f, lanes, axis = self.e.f, self.e.lanes, self.axis
        wide = self._load(base, j, mask)
        if self.dtype.size < 8:
            wide = f.cast("sext" if self.dtype.is_signed else "zext", wide, "i64")
        zero = const(vector(lanes, "i64"), 0)
        at = wide
        if self.dtype.is_signed:
            negative = f.icmp("slt", wide, zero)
            at = f.select(negative, f.add(wide, f.splat(axis.size, lanes)), wide)
        limit = f.add(f.sub(axis.size, axis.width), i64(1))
        self._stop_at(f.icmp("uge", at, f.splat(limit, lanes)), wide, mask)
        return at

    def check(self, base: Value, j: Value, mask: Value | None) -> None:
        """The check alone.  Signed indices are compared as they are."""
        f, axis = self.e.f, self.axis
        if not self.dtype.is_signed:
            self.positions(base, j, mask)
            return
        raw = self._load(base, j, mask)
        low, high, inside = (
            self._bound(b)
            for b in (f.neg(axis.size), f.sub(axis.size, axis.width), f.neg(axis.width))
        )
        zero = const(raw.type, 0)
        bad = f.op("or", f.icmp("slt", raw, low), f.icmp("sgt", raw, high))
        cut = f.op("and", f.icmp("slt", raw, zero), f.icmp("sgt", raw, inside))
        self._stop_at(f.op("or", bad, cut), raw, mask)

    def _bound(self, x: Value) -> Value:
        """A number, or the nearest that the indices' dtype has, in all lanes."""
        f, size = self.e.f, self.dtype.size
        if size < 8:
            most = (1 << 8 * size - 1) - 1
            x = f.cast("trunc", f.max(f.min(x, i64(most)), i64(-most - 1)), f"i{8 * size}")
        return f.splat(x, self.e.lanes)

    def _stop_at(self, bad: Value, raw: Value, mask: Value | None) -> None:
        """End the kernel with the first bad index."""
        f, lanes = self.e.f, self.e.lanes
        if mask is not None:
            bad = f.op("and", bad, mask)
        bits = f.bitcast(bad, f"i{lanes}")

        def culprit() -> Value:
            found = f.extract(raw, lowest(f, bits))
            if found.type == "i64":
                return found
            return f.cast("sext" if self.dtype.is_signed else "zext", found, "i64")

        good = f.icmp("eq", bits, const(f"i{lanes}", 0))
        stop_unless(self.k, self.code, good, culprit, self.axis)

    def _load(self, base: Value, j: Value, mask: Value | None) -> Value:
        f, lanes, size = self.e.f, self.e.lanes, self.dtype.size
        word = f"i{8 * size}"
        if self.step == "same":
            return f.splat(f.load(base, word, size), lanes)
        if self.step == "unit":
            return memory.load_unit(self.e, f.gep(base, f.mul(j, i64(size))), WORD[size], mask).v
        offsets = f.mul(ramp(f, j, lanes), f.splat(self.stride, lanes))
        some = mask or memory.full_mask(lanes)
        return f.gather(memory.moved(f, base, offsets), vector(lanes, word), some, size)


def ramp(f: Function, j: Value, lanes: int) -> Value:
    """j, j + 1, j + 2, ..."""
    return f.add(f.splat(j, lanes), lane_consts(vector(lanes, "i64"), range(lanes)))


def lowest(f: Function, bits: Value) -> Value:
    """The number of the lowest set bit (i64)."""
    type = bits.type
    f.module.declare(f"llvm.cttz.{type}", type, [type, "i1"])
    number = f.emit(f"call {type} @llvm.cttz.{type}({type} {bits.ref}, i1 true)", type)
    return number if type == "i64" else f.cast("zext", number, "i64")
