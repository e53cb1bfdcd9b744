"""Kernels that do nothing but reach a limit of the machine: bandwidth, and products in registers.

Each is a function of (a, b, c, count): addresses of arrays, and how many steps to make.
"""

from __future__ import annotations

import ctypes
import struct
import sys

from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.jit import Library, compile_ir
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

UNROLL = 8  # vectors a step of the kernels that stream
CHAINS = 12  # independent accumulators: more than latency times throughput, fewer than registers
DOT, DOT_FLOPS = "llvm.x86.avx512bf16.dpbf16ps.512", 2 * 32
TILE_FLOPS = 2 * 16 * 16 * 32
STREAMS = {"read": 1, "copy": 2, "triad": 3}  # arrays that each passes over


def float_vector() -> str:
    return vector(host().lanes, "float")


def stream(module: Module, name: str) -> None:
    """a = b, a = b + 0.5 c without reading a; or the sum of b, written to a's beginning."""
    f = module.function(name, ["ptr", "ptr", "ptr", "i64"])
    out, b, c, count = f.params
    type, size = float_vector(), host().vector_bytes
    zero, half = const(type, 0), const(type, 0.5)
    sums = [zero] * UNROLL if name == "read" else []
    loop = f.loop(i64(0), count, i64(1), sums)
    base = f.mul(loop.index, i64(UNROLL * size))
    places = [f.add(base, i64(i * size)) for i in range(UNROLL)]
    values = [f.load(f.gep(b, place), type, size) for place in places]
    if name == "triad":
        more = [f.load(f.gep(c, place), type, size) for place in places]
        values = [f.fma(m, half, v) for m, v in zip(more, values, strict=True)]
    if name == "read":
        sums = f.end_loop(loop, [f.add(s, v) for s, v in zip(loop.values, values, strict=True)])
        f.store(total(f, sums), out, size)
    else:
        for place, value in zip(places, values, strict=True):
            f.store(value, f.gep(out, place), size, nontemporal=True)
        f.end_loop(loop)
    f.ret()


def total(f: Function, values: list[Value]) -> Value:
    result = values[0]
    for value in values[1:]:
        result = f.add(result, value)
    return result


def multiply_add(module: Module) -> None:
    """CHAINS accumulators, each x = x * b + c."""
    f = module.function("f32", ["ptr", "ptr", "ptr", "i64"])
    type, size = float_vector(), host().vector_bytes
    factor, addend = f.load(f.params[1], type, size), f.load(f.params[2], type, size)
    loop = f.loop(i64(0), f.params[3], i64(1), [addend] * CHAINS)
    f.store(total(f, f.end_loop(loop, [f.fma(x, factor, addend) for x in loop.values])),
            f.params[0], size)  # fmt: skip
    f.ret()


def dot_pairs(module: Module) -> None:
    """CHAINS accumulators of the bf16 dot-product instruction."""
    f = module.function("bf16", ["ptr", "ptr", "ptr", "i64"])
    sums, pairs = "<16 x float>", "<32 x bfloat>"
    module.declare(DOT, sums, [sums, pairs, pairs])
    a, b = f.load(f.params[1], pairs, 64), f.load(f.params[2], pairs, 64)
    loop = f.loop(i64(0), f.params[3], i64(1), [const(sums, 0)] * CHAINS)
    following = [
        f.emit(f"call {sums} @{DOT}({sums} {x.ref}, {pairs} {a.ref}, {pairs} {b.ref})", sums)
        for x in loop.values
    ]
    f.store(total(f, f.end_loop(loop, following)), f.params[0], 64)
    f.ret()


def tiles(module: Module) -> None:
    """2 x 2 tiles of AMX; a holds the configuration, b and c a tile of 1 KB each."""
    f = module.function("bf16", ["ptr", "ptr", "ptr", "i64"])
    config, a, b, count = f.params
    for name, types in (("ldtilecfg", "ptr"), ("tilezero", "i8"), ("tileloadd64", "i8 ptr i64"),
                        ("tdpbf16ps", "i8 i8 i8"), ("tilerelease", "")):  # fmt: skip
        module.declare(f"llvm.x86.{name}", "void", types.split())
    f.do(f"call void @llvm.x86.ldtilecfg(ptr {config.ref})")
    for tile in range(4):
        f.do(f"call void @llvm.x86.tilezero(i8 {tile})")
        source = a if tile < 2 else b
        f.do(f"call void @llvm.x86.tileloadd64(i8 {tile + 4}, ptr {source.ref}, i64 64)")
    loop = f.loop(i64(0), count, i64(1))
    for tile in range(4):
        left, right = 4 + tile // 2, 6 + tile % 2
        f.do(f"call void @llvm.x86.tdpbf16ps(i8 {tile}, i8 {left}, i8 {right})")
    f.end_loop(loop)
    f.do("call void @llvm.x86.tilerelease()")
    f.ret()


def tile_configuration() -> bytes:
    """Palette 1; eight tiles of 16 rows of 64 bytes."""
    return struct.pack("<BB14x8H16x8B8x", 1, 0, *[64] * 8, *[16] * 8)


def tiles_permitted() -> bool:
    """Linux gives a process the tile registers when it asks (arch_prctl, feature 18)."""
    if not (host().has("amx-bf16") and sys.platform == "linux"):
        return False
    return ctypes.CDLL(None).syscall(158, 0x1023, 18) == 0


def kernels() -> tuple[Library, dict[str, float]]:
    """The compiled kernels, and how many operations a step of each arithmetic one makes."""
    module, work = Module(), {"f32": 2.0 * CHAINS * host().lanes}
    for name in STREAMS:
        stream(module, name)
    multiply_add(module)
    if tiles_permitted():
        tiles(module)
        work["bf16"] = 4 * TILE_FLOPS
    elif host().avx512 and host().has("avx512bf16"):
        dot_pairs(module)
        work["bf16"] = CHAINS * DOT_FLOPS
    return compile_ir(module.text(host().attributes()), [*STREAMS, *work]), work
