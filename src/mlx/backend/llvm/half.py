"""float16 from and to float32: by the CPU's instruction, or where it has none by integers.

LLVM would call a library function there, and kernels call nothing outside themselves.
"""

from __future__ import annotations

from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const


def widen_half(f: Function, half: Value) -> Value:
    """float16 -> float32, exactly."""
    if host().converts_half:
        return f.cast("fpext", half, "float")
    bits = f.cast("zext", f.cast("bitcast", half, "i16"), "i32")
    rest = f.op("and", bits, const(bits.type, 0x7FFF))
    scaled = f.cast("bitcast", f.op("shl", rest, const(bits.type, 13)), "float")
    # Another bias of the exponent; subnormal numbers become normal by the same product.
    finite = f.cast("bitcast", f.mul(scaled, const(scaled.type, 2.0**112)), "i32")
    special = f.icmp("uge", rest, const(bits.type, 0x7C00))
    magnitude = f.select(special, f.op("or", finite, const(bits.type, 0x7F800000)), finite)
    sign = f.op("shl", f.op("and", bits, const(bits.type, 0x8000)), const(bits.type, 16))
    return f.cast("bitcast", f.op("or", magnitude, sign), "float")


def narrow_half(f: Function, x: Value) -> Value:
    """float32 -> float16, to nearest even."""
    if host().converts_half:
        return f.cast("fptrunc", x, "half")
    bits = f.cast("bitcast", x, "i32")
    type = bits.type
    size = f.op("and", bits, const(type, 0x7FFFFFFF))
    odd = f.op("and", f.op("lshr", size, const(type, 13)), const(type, 1))
    normal = f.add(f.add(size, const(type, 0xFFF - (112 << 23))), odd)
    normal = f.op("lshr", normal, const(type, 13))
    # The last place of 0.5 is that of subnormal numbers, so the sum rounds as it should.
    sum = f.add(f.cast("bitcast", size, "float"), const(x.type, 0.5))
    subnormal = f.sub(f.cast("bitcast", sum, "i32"), const(type, 0x3F000000))
    small = f.icmp("ult", size, const(type, 0x38800000))
    large = f.icmp("uge", size, const(type, 0x47800000))
    nan = f.icmp("ugt", size, const(type, 0x7F800000))
    out = f.select(small, subnormal, normal)
    out = f.select(large, const(type, 0x7C00), out)
    out = f.select(nan, const(type, 0x7E00), out)
    sign = f.op("and", f.op("lshr", bits, const(type, 16)), const(type, 0x8000))
    return f.cast("bitcast", f.cast("trunc", f.op("or", out, sign), "i16"), "half")
