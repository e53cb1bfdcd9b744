"""Typed vector arithmetic: what a primitive's ``scalar`` rule is written in.

A :class:`Lane` is a vector of elements of one of our dtypes.  In registers bool is i1,
float16 and bfloat16 are float32 numbers already rounded to the narrow type (every operation
rounds its result), and complex64 is a pair of float vectors.
"""

from __future__ import annotations

import math
from typing import Any

from mlx.backend.llvm import elementary
from mlx.backend.llvm.registers import REGISTER, Lane, Registers
from mlx.backend.llvm.values import Value, const, element_of, vector
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype

_INT_PREDICATES = {"lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}


class LaneEmitter(Registers):
    """Emits operations on vectors of ``lanes`` elements into a function."""

    # -- arithmetic --------------------------------------------------------------------

    def add(self, a: Lane, b: Lane) -> Lane:
        f, d = self.f, a.dtype
        if d is dt.bool_:
            return Lane(d, f.op("or", a.v, b.v))
        if d.is_complex:
            return Lane(d, f.add(a.v, b.v), f.add(a.im, b.im))
        return self.rounded(f.add(a.v, b.v), d, computed=True)

    def sub(self, a: Lane, b: Lane) -> Lane:
        f, d = self.f, a.dtype
        if d is dt.bool_:
            return Lane(d, f.op("xor", a.v, b.v))
        if d.is_complex:
            return Lane(d, f.sub(a.v, b.v), f.sub(a.im, b.im))
        return self.rounded(f.sub(a.v, b.v), d, computed=True)

    def mul(self, a: Lane, b: Lane) -> Lane:
        f, d = self.f, a.dtype
        if d is dt.bool_:
            return Lane(d, f.op("and", a.v, b.v))
        if d.is_complex:
            re = f.sub(f.mul(a.v, b.v), f.mul(a.im, b.im))
            return Lane(d, re, f.add(f.mul(a.v, b.im), f.mul(a.im, b.v)))
        return self.rounded(f.mul(a.v, b.v), d, computed=True)

    def div(self, a: Lane, b: Lane) -> Lane:
        f, d = self.f, a.dtype
        if d.is_complex:
            return self._pair(d, elementary.complex_div(f, a.v, a.im, b.v, b.im))
        return self.rounded(f.fdiv(a.v, b.v), d, computed=True)

    def fma(self, a: Lane, b: Lane, c: Lane) -> Lane:
        """a * b + c, rounded once."""
        return self.rounded(self.f.fma(a.v, b.v, c.v), a.dtype, computed=True)

    def neg(self, a: Lane) -> Lane:
        if a.dtype is dt.bool_:
            return self.logical_not(a)
        return Lane(a.dtype, *[self.f.neg(p) for p in a.parts])

    def abs(self, a: Lane) -> Lane:
        """Absolute value; of complex64 its modulus in float32."""
        f, d = self.f, a.dtype
        if d.is_complex:
            wide = [f.cast("fpext", p, "double") for p in a.parts]
            square = f.add(f.mul(wide[0], wide[0]), f.mul(wide[1], wide[1]))
            return Lane(dt.float32, f.cast("fptrunc", f.sqrt(square), "float"))
        if d.is_float:
            return Lane(d, f.fabs(a.v))
        if d.is_signed:
            return Lane(d, f.select(f.icmp("slt", a.v, const(a.v.type, 0)), f.neg(a.v), a.v))
        return a

    def _greater(self, a: Lane, b: Lane) -> Value:
        """a > b where both are ordered."""
        f, d = self.f, a.dtype
        if d.is_complex:
            tie = f.op("and", f.fcmp("oeq", a.v, b.v), f.fcmp("ogt", a.im, b.im))
            return f.op("or", f.fcmp("ogt", a.v, b.v), tie)
        if d.is_float:
            return f.fcmp("ogt", a.v, b.v)
        return f.icmp("sgt" if d.is_signed else "ugt", a.v, b.v)

    def is_nan(self, a: Lane) -> Value:
        f = self.f
        nan = f.fcmp("uno", a.v, a.v)
        return nan if a.im is None else f.op("or", nan, f.fcmp("uno", a.im, a.im))

    def maximum(self, a: Lane, b: Lane) -> Lane:
        """The larger; NaN wins."""
        larger = self._choose(self._greater(a, b), a, b)
        return self._choose(self.is_nan(a), a, larger) if a.dtype.is_inexact else larger

    def minimum(self, a: Lane, b: Lane) -> Lane:
        """The smaller; NaN wins."""
        smaller = self._choose(self._greater(b, a), a, b)
        return self._choose(self.is_nan(a), a, smaller) if a.dtype.is_inexact else smaller

    def _choose(self, condition: Value, a: Lane, b: Lane) -> Lane:
        pairs = zip(a.parts, b.parts, strict=True)
        return Lane(a.dtype, *[self.f.select(condition, x, y) for x, y in pairs])

    # -- comparison, logic, bits -------------------------------------------------------

    def compare(self, predicate: str, a: Lane, b: Lane) -> Lane:
        """eq ne lt le gt ge; every comparison with NaN but ``ne`` is false."""
        f, d = self.f, a.dtype
        if d.is_complex:
            return Lane(dt.bool_, self._compare_complex(predicate, a, b))
        if d.is_float:
            name = "une" if predicate == "ne" else "o" + predicate
            return Lane(dt.bool_, f.fcmp(name, a.v, b.v))
        if predicate in _INT_PREDICATES:
            predicate = ("s" if d.is_signed else "u") + predicate
        return Lane(dt.bool_, f.icmp(predicate, a.v, b.v))

    def _compare_complex(self, predicate: str, a: Lane, b: Lane) -> Value:
        f = self.f
        same = f.op("and", f.fcmp("oeq", a.v, b.v), f.fcmp("oeq", a.im, b.im))
        if predicate == "eq":
            return same
        if predicate == "ne":
            return f.op("xor", same, const(same.type, 1))
        if predicate in ("lt", "le"):
            a, b = b, a
        greater = self._greater(a, b)
        return f.op("or", greater, same) if predicate in ("le", "ge") else greater

    def select(self, condition: Lane, a: Lane, b: Lane) -> Lane:
        return self._choose(condition.v, a, b)

    def _bitwise(self, name: str, a: Lane, b: Lane) -> Lane:
        return Lane(a.dtype, self.f.op(name, a.v, b.v))

    def bit_and(self, a: Lane, b: Lane) -> Lane:
        return self._bitwise("and", a, b)

    def bit_or(self, a: Lane, b: Lane) -> Lane:
        return self._bitwise("or", a, b)

    def bit_xor(self, a: Lane, b: Lane) -> Lane:
        return self._bitwise("xor", a, b)

    logical_and, logical_or, logical_xor = bit_and, bit_or, bit_xor

    def bit_not(self, a: Lane) -> Lane:
        return Lane(a.dtype, self.f.op("xor", a.v, const(a.v.type, 1 if _is_bool(a) else -1)))

    logical_not = bit_not

    def _in_range(self, a: Lane, count: Lane) -> Value:
        """Whether a shift count is below the number of bits (else LLVM's result is poison)."""
        limit = const(count.v.type, 8 * a.dtype.size)
        return self.f.icmp("ult", count.v, limit)

    def shift_left(self, a: Lane, count: Lane) -> Lane:
        f = self.f
        fits = self._in_range(a, count)
        safe = f.select(fits, count.v, const(a.v.type, 0))
        return Lane(a.dtype, f.select(fits, f.op("shl", a.v, safe), const(a.v.type, 0)))

    def shift_right(self, a: Lane, count: Lane) -> Lane:
        """Arithmetic for signed, logical for unsigned."""
        f, signed = self.f, a.dtype.is_signed
        fits = self._in_range(a, count)
        last = const(a.v.type, 8 * a.dtype.size - 1 if signed else 0)
        safe = f.select(fits, count.v, last)
        shifted = f.op("ashr" if signed else "lshr", a.v, safe)
        return Lane(a.dtype, shifted if signed else f.select(fits, shifted, const(a.v.type, 0)))

    def rotate_left(self, a: Lane, count: int) -> Lane:
        f, bits = self.f, 8 * a.dtype.size
        high = f.op("shl", a.v, const(a.v.type, count))
        low = f.op("lshr", a.v, const(a.v.type, bits - count))
        return Lane(a.dtype, f.op("or", high, low))

    # -- integer division --------------------------------------------------------------

    def _divided(self, a: Lane, b: Lane) -> tuple[Value, Value]:
        """Quotient towards zero and remainder; by zero both are 0, and nothing traps."""
        f = self.f
        zero, one = const(a.v.type, 0), const(a.v.type, 1)
        by_zero = f.icmp("eq", b.v, zero)
        if not a.dtype.is_signed:
            safe = f.select(by_zero, one, b.v)
            quotient = self._quotient(a.v, safe, "u")
        else:
            minus = f.icmp("eq", b.v, const(a.v.type, -1))
            safe = f.select(f.op("or", by_zero, minus), one, b.v)
            quotient = f.select(minus, f.neg(a.v), self._quotient(a.v, safe, "s"))
        quotient = f.select(by_zero, zero, quotient)
        remainder = f.select(by_zero, zero, f.sub(a.v, f.mul(quotient, b.v)))
        return quotient, remainder

    def _quotient(self, a: Value, b: Value, sign: str) -> Value:
        """Integers divided as floats of twice their bits, which no vector unit divides itself:
        the next integer is further from the quotient than its rounding error."""
        f = self.f
        element = element_of(a.type)
        if element == "i64":
            return f.op(f"{sign}div", a, b)
        wide = "double" if element == "i32" else "float"
        x, y = (f.cast(f"{sign}itofp", v, wide) for v in (a, b))
        return f.cast(f"fpto{sign}i", f.fdiv(x, y), element)

    def int_div(self, a: Lane, b: Lane) -> Lane:
        """The quotient of integers, rounded towards zero."""
        return Lane(a.dtype, self._divided(a, b)[0])

    def int_remainder(self, a: Lane, b: Lane) -> Lane:
        """The remainder of integers, with the sign of the dividend."""
        return Lane(a.dtype, self._divided(a, b)[1])

    def remainder(self, a: Lane, b: Lane) -> Lane:
        """The remainder with the sign of the divisor."""
        f, d = self.f, a.dtype
        if d.is_float:
            rest = self._float_remainder(a, b)
        else:
            rest = self.int_remainder(a, b)
            if not d.is_signed:
                return rest
        zero = self.const(0, d)
        nonzero = self.compare("ne", rest, zero).v
        differs = f.op("xor", self.compare("lt", rest, zero).v, self.compare("lt", b, zero).v)
        return self._choose(f.op("and", nonzero, differs), self.add(rest, b), rest)

    def _float_remainder(self, a: Lane, b: Lane) -> Lane:
        """C's fmod, through float64 for the narrow types where one division suffices."""
        f = self.f
        return self.rounded(elementary.fmod(f, a.v, b.v), a.dtype, computed=True)

    # -- conversion --------------------------------------------------------------------

    def cast(self, x: Lane, to: Dtype) -> Lane:
        """The same number in another dtype; floats out of an integer's range wrap or clamp."""
        d = x.dtype
        if d is to:
            return x
        if to.is_complex:
            re = self.cast(x, dt.float32)
            return Lane(to, re.v, const(re.v.type, 0))
        if d.is_complex:
            x = Lane(dt.float32, x.v) if to is not dt.bool_ else self._complex_nonzero(x)
            return self.cast(x, to)
        if to is dt.bool_:
            return self.compare("ne", x, self.const(0, d))
        if to.is_float:
            return self._to_float(x, to)
        return self._to_int(x, to)

    def _complex_nonzero(self, x: Lane) -> Lane:
        return self.compare("ne", x, self.const(0, x.dtype))

    def _to_float(self, x: Lane, to: Dtype) -> Lane:
        f, d = self.f, x.dtype
        if d.is_float:
            if to is dt.float64:
                return Lane(to, f.cast("fpext", x.v, "double"))
            return self.rounded(self._narrowed(x.v, to) if d is dt.float64 else x.v, to)
        op = "sitofp" if d.is_signed else "uitofp"
        if to is dt.float64:
            return Lane(to, f.cast(op, x.v, "double"))
        if to.size == 2 and d.size == 1:
            return Lane(to, f.cast(op, x.v, "float"))  # exact
        if to.size == 2 and d.size == 8:
            return self.rounded(self._narrowed(f.cast(op, x.v, "double"), to), to)
        number = self._sticky(x) if to.size == 2 and d.size == 4 else x.v
        return self.rounded(f.cast(op, number, "float"), to)

    def _sticky(self, x: Lane) -> Value:
        """A 32-bit integer that is a float, and rounds to 16 bits as ``x`` does: of those beyond
        2**24 one bit stands for the lowest eight, far behind the last place that is kept."""
        f, wide = self.f, x.v.type
        carried = f.add(f.op("and", x.v, const(wide, 0xFF)), const(wide, 0xFF))
        jammed = f.op("and", f.op("or", x.v, carried), const(wide, -0x100))
        if x.dtype.is_signed:
            far = f.icmp("ugt", f.add(x.v, const(wide, 1 << 24)), const(wide, 1 << 25))
        else:
            far = f.icmp("ugt", x.v, const(wide, 1 << 24))
        return f.select(far, jammed, x.v)

    def _narrowed(self, x: Value, to: Dtype) -> Value:
        """double -> float; rounding to odd where a second rounding follows."""
        f = self.f
        near = f.cast("fptrunc", x, "float")
        if to is dt.float32:
            return near
        back = f.cast("fpext", near, "double")
        bits = f.cast("bitcast", near, "i32")
        exact = f.op("or", f.fcmp("oeq", back, x), f.fcmp("uno", x, x))
        away = f.fcmp("ogt", f.fabs(back), f.fabs(x))
        toward = f.select(away, f.sub(bits, const(bits.type, 1)), bits)
        odd = f.op("or", toward, const(bits.type, 1))
        return f.cast("bitcast", f.select(exact, bits, odd), "float")

    def _to_int(self, x: Lane, to: Dtype) -> Lane:
        f, d = self.f, x.dtype
        target = REGISTER[to.name]
        if not d.is_float:
            source_bits = 1 if d is dt.bool_ else 8 * d.size
            if 8 * to.size == source_bits:
                return Lane(to, x.v)
            if 8 * to.size < source_bits:
                return Lane(to, f.cast("trunc", x.v, target))
            return Lane(to, f.cast("sext" if d.is_signed else "zext", x.v, target))
        if to is dt.uint64:
            return Lane(to, self._to_unsigned64(x.v))
        wide = "i32" if to.size <= 2 or to is dt.int32 else "i64"
        number = self._saturated(x.v, wide, cut=wide != target)
        return Lane(to, number if wide == target else f.cast("trunc", number, target))

    def _saturated(self, x: Value, element: str, cut: bool = False) -> Value:
        """float -> signed integer: NaN is 0, beyond the range the nearest end.  Where the result
        is ``cut``, without the upper half, the lowest end is as good as 0."""
        f = self.f
        bits = int(element[1:])
        top = math.ldexp(1.0, bits - 1)
        number = f.cast("fptosi", x, element)  # undefined beyond the range: never chosen there
        bottom = const(number.type, 0 if cut else -(2 ** (bits - 1)))
        if not cut:
            bottom = f.select(f.fcmp("uno", x, x), const(number.type, 0), bottom)
        number = f.select(f.fcmp("oge", x, const(x.type, -top)), number, bottom)
        most = const(number.type, 2 ** (bits - 1) - 1)
        return f.select(f.fcmp("ult", x, const(x.type, top)), number, most)

    def _to_unsigned64(self, x: Value) -> Value:
        f = self.f
        half = const(x.type, math.ldexp(1.0, 63))
        large = f.fcmp("oge", x, half)
        reduced = f.select(large, f.sub(x, half), x)
        number = self._saturated(reduced, "i64")
        return f.select(large, f.op("xor", number, const(number.type, -(2**63))), number)

    def bitcast(self, x: Lane, to: Dtype) -> Lane:
        """The same bits as another dtype of the same size."""
        bits = self._bits(x)
        if to.is_float and to.size == 2:
            return self.from_memory(bits, to)
        return Lane(to, self.f.bitcast(bits, self.type_of(to)))

    def _bits(self, x: Lane) -> Value:
        if x.dtype.is_float and x.dtype.size == 2:
            value = self.to_memory(x)
            return self.f.bitcast(value, vector(self.lanes, "i16"))
        return x.v

    # -- complex -----------------------------------------------------------------------

    def real(self, x: Lane) -> Lane:
        return Lane(dt.float32, x.v)

    def imag(self, x: Lane) -> Lane:
        return Lane(dt.float32, x.im)

    def complex(self, re: Lane, im: Lane) -> Lane:
        return Lane(dt.complex64, re.v, im.v)

    def _pair(self, d: Dtype, parts: Any) -> Lane:
        return Lane(d, *parts)

    # -- elementary functions ----------------------------------------------------------

    def call(self, name: str, *args: Lane) -> Lane:
        """An elementary function by name, in the precision of its arguments."""
        d = args[0].dtype
        if d.is_complex:
            flat = [p for a in args for p in a.parts]
            return self._pair(d, getattr(elementary, f"complex_{name}")(self.f, *flat))
        values = [a.v for a in args]
        if name in _NATIVE:
            return self.rounded(self.f.intrinsic(_NATIVE[name], *values), d, computed=True)
        routine = elementary.TABLE[name]
        if d.size == 2:
            routine = elementary.NARROW.get(name, routine)
        return self.rounded(routine(self.f, *values), d, computed=True)


_NATIVE = {"sqrt": "sqrt", "floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "rint"}


def _is_bool(x: Lane) -> bool:
    return x.dtype is dt.bool_
