"""How elements live in registers and in memory.

In registers bool is i1, float16 and bfloat16 are float32 numbers already rounded to the narrow
type, and complex64 is a pair of float vectors.
"""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.bfloat import rounded_up
from mlx.backend.llvm.half import narrow_half, widen_half
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, const, element_of, lanes_of, vector
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype

REGISTER = {
    "bool": "i1", "uint8": "i8", "uint16": "i16", "uint32": "i32", "uint64": "i64",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64", "float16": "float",
    "bfloat16": "float", "float32": "float", "float64": "double", "complex64": "float",
}  # fmt: skip
MEMORY = REGISTER | {"bool": "i8", "float16": "half", "bfloat16": "i16"}


class Lane:
    """A vector value of a dtype; ``im`` is the imaginary part of complex64."""

    __slots__ = ("dtype", "im", "v")

    def __init__(self, dtype: Dtype, v: Value, im: Value | None = None) -> None:
        self.dtype = dtype
        self.v = v
        self.im: Any = im  # a Value where the dtype is complex

    @property
    def parts(self) -> list[Value]:
        return [self.v] if self.im is None else [self.v, self.im]


class Registers:
    """Vectors of ``lanes`` elements in a function: constants, rounding, loads and stores."""

    def __init__(self, f: Function, lanes: int) -> None:
        self.f = f
        self.lanes = lanes

    def type_of(self, dtype: Dtype) -> str:
        return vector(self.lanes, REGISTER[dtype.name])

    # -- constants, rounding -----------------------------------------------------------

    def const(self, value: bool | int | float | complex, dtype: Dtype) -> Lane:
        """The same number in all lanes."""
        type = self.type_of(dtype)
        if dtype.is_complex:
            value = complex(value)
            return Lane(dtype, const(type, value.real), const(type, value.imag))
        if isinstance(value, complex):
            value = value.real
        if dtype.is_float:
            narrow = dtype.numpy.type(value) if dtype.size == 2 else value
            return Lane(dtype, const(type, float(narrow)))
        if dtype is dt.bool_:
            return Lane(dtype, const(type, 1 if value else 0))
        return Lane(dtype, const(type, int(value)))

    def rounded(self, x: Value, dtype: Dtype, computed: bool = False) -> Lane:
        """A float32 result as the dtype it was computed for.

        ``computed`` says that it follows from numbers of that dtype, not from any float32.
        """
        if dtype is dt.float16:
            return Lane(dtype, widen_half(self.f, narrow_half(self.f, x)))
        if dtype is dt.bfloat16:
            return Lane(dtype, self._bfloat_of_computed(x) if computed else self._bfloat(x))
        return Lane(dtype, x)

    def _bfloat(self, x: Value) -> Value:
        """Round to nearest even at 8 bits of significand; NaN stays NaN."""
        f = self.f
        bits = f.cast("bitcast", x, "i32")
        quiet = f.op("and", f.op("or", bits, const(bits.type, 0x400000)), const(bits.type, -65536))
        quiet = f.cast("bitcast", quiet, "float")
        return f.select(f.fcmp("uno", x, x), quiet, self._bfloat_of_computed(x))

    def _bfloat_of_computed(self, x: Value) -> Value:
        """The same where every NaN is a quiet one of 8 bits or the processor's own: the sum
        neither carries out of those nor makes them infinite."""
        f = self.f
        up = rounded_up(f, f.cast("bitcast", x, "i32"))
        return f.cast("bitcast", f.op("and", up, const(up.type, -65536)), "float")

    # -- memory ------------------------------------------------------------------------

    def _upper_halves(self, x: Value) -> Value:
        """The upper i16 of each float: one shuffle of two registers, where a shift and a
        truncation of each were five."""
        f, n = self.f, self.lanes
        if not lanes_of(x.type):
            bits = f.op("lshr", f.cast("bitcast", x, "i32"), const("i32", 16))
            return f.cast("trunc", bits, "i16")
        halves = f.bitcast(x, vector(2 * n, "i16"))
        return f.shuffle(halves, None, range(1, 2 * n, 2))

    def from_memory(self, raw: Value, dtype: Dtype) -> Lane:
        """A loaded vector (of MEMORY elements) in its register form; complex: interleaved."""
        f = self.f
        if dtype is dt.bool_:
            return Lane(dtype, f.icmp("ne", raw, const(raw.type, 0)))
        if dtype is dt.float16:
            half = raw if element_of(raw.type) == "half" else f.cast("bitcast", raw, "half")
            return Lane(dtype, widen_half(f, half))
        if dtype is dt.bfloat16:
            wide = f.cast("zext", raw, "i32")
            return Lane(dtype, f.cast("bitcast", f.op("shl", wide, const(wide.type, 16)), "float"))
        if dtype.is_complex:
            count = self.lanes
            even = f.shuffle(raw, None, range(0, 2 * count, 2))
            return Lane(dtype, even, f.shuffle(raw, None, range(1, 2 * count, 2)))
        return Lane(dtype, raw)

    def to_memory(self, x: Lane) -> Value:
        """The vector to store for a value (complex: interleaved, twice as long)."""
        f, d = self.f, x.dtype
        if d is dt.bool_:
            return f.cast("zext", x.v, "i8")
        if d is dt.float16:
            return narrow_half(f, x.v)
        if d is dt.bfloat16:
            return self._upper_halves(x.v)
        if d.is_complex:
            order = [i // 2 + (i % 2) * self.lanes for i in range(2 * self.lanes)]
            return f.shuffle(x.v, x.im, order)
        return x.v
