"""Sums rounded to what a result holds."""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm.gemm.elements import llvm_type
from mlx.backend.llvm.half import narrow_half
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, bits_of, is_float, lanes_of, vector, with_element
from mlx.base import dtype

_CONVERT = "llvm.x86.avx512bf16.cvtne"


def narrowed(f: Function, value: Value, to: str) -> Value:
    """Accumulators as elements of a result of dtype ``to``."""
    source, target = value.type[value.type.index("x ") + 2 : -1], llvm_type(to)
    if source == target:
        return value
    if target == "bfloat":  # LLVM's own conversion is a library call on most targets
        emitter = LaneEmitter(f, lanes_of(value.type))
        return emitter.to_memory(emitter.rounded(value, dtype.bfloat16))
    if target == "half" and source == "float":
        return narrow_half(f, value)
    if is_float(source):
        return f.cast("fptrunc" if bits_of(target) < bits_of(source) else "fpext", value, target)
    return f.cast("trunc" if bits_of(target) < bits_of(source) else "sext", value, target)


def narrower(accumulate: str) -> tuple[str, ...]:
    """Dtypes that micro-kernels round sums to: where runs of 16 bits can be stored by a mask."""
    return ("bfloat16", "float16") if accumulate == "float32" and host().avx512 else ()


def narrowed_row(f: Function, sums: Sequence[Value], to: str, flushed: bool) -> list[Value]:
    """Neighbouring vectors of one row, as they are stored.

    ``flushed``: no sum is a denormal number, so the instruction that takes these for zero may
    round.
    """
    if to != "bfloat16" or not flushed:
        return [_storable(f, narrowed(f, s, to)) for s in sums]
    lanes = lanes_of(sums[0].type)
    together = "2ps2" if len(sums) == 2 else "ps2"
    type = vector(lanes * len(sums), "bfloat")
    name = f"{_CONVERT}{together}bf16.{32 * lanes}"
    f.module.declare(name, type, [s.type for s in sums])
    return [_storable(f, f.call(name, type, *reversed(sums)))]


def _storable(f: Function, value: Value) -> Value:
    """Half precision as 16-bit integers, which every target can store by a mask."""
    half = value.type.endswith((" half>", " bfloat>"))
    return f.bitcast(value, with_element(value.type, "i16")) if half else value
