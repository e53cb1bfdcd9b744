"""Kernels that do nothing but reach a limit of the machine, besides those the runtime has."""

from __future__ import annotations

import ctypes
import struct
import sys
from dataclasses import dataclass

from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, vector

UNROLL = 8  # vectors a step of the kernels that stream
CHAINS = 12  # independent accumulators: more than latency times throughput, fewer than registers
DOT, DOT_FLOPS = "llvm.x86.avx512bf16.dpbf16ps.512", 2 * 32
TILE_FLOPS = 2 * 16 * 16 * 32
TILE_INTRINSICS = {"ldtilecfg": "ptr", "tilezero": "i8", "tileloadd64": "i8 ptr i64"}
TILE_INTRINSICS |= {"tdpbf16ps": "i8 i8 i8", "tilerelease": ""}
LINE = 64


def float_vector() -> str:
    return vector(host().lanes, "float")


def total(f: Function, values: list[Value]) -> Value:
    result = values[0]
    for value in values[1:]:
        result = f.add(result, value)
    return result


@dataclass(frozen=True)
class ReadSpec:
    """The sum of an array. Consts: result and source (base, offset), then bytes a task."""

    key: str = "benchmark read"

    def emit(self, module: Module, name: str) -> None:
        kernel = Kernel(module, name)
        f, type, size = kernel.f, float_vector(), host().vector_bytes
        source = f.gep(kernel.pointer(2), f.mul(kernel.task, kernel.const(4)))
        sums = [const(type, 0)] * UNROLL
        loop = f.loop(i64(0), kernel.const(4), i64(UNROLL * size), sums)
        values = [
            f.load(f.gep(source, f.add(loop.index, i64(i * size))), type, size)
            for i in range(UNROLL)
        ]
        sums = f.end_loop(loop, [f.add(s, v) for s, v in zip(loop.values, values, strict=True)])
        target = f.gep(kernel.pointer(0), f.mul(kernel.task, i64(LINE)))
        f.store(total(f, sums), target, size)
        f.ret()


@dataclass(frozen=True)
class TriadSpec:
    """a = b + 0.5 c. Consts: a, b and c (base, offset), then bytes of each a task."""

    key: str = "benchmark triad"

    def emit(self, module: Module, name: str) -> None:
        kernel = Kernel(module, name)
        f, type, size = kernel.f, float_vector(), host().vector_bytes
        start = f.mul(kernel.task, kernel.const(6))
        a, b, c = (f.gep(kernel.pointer(slot), start) for slot in (0, 2, 4))
        loop = f.loop(i64(0), kernel.const(6), i64(UNROLL * size))
        for i in range(UNROLL):
            at = f.add(loop.index, i64(i * size))
            left, right = (f.load(f.gep(x, at), type, size) for x in (b, c))
            f.store(f.add(left, f.mul(right, const(type, 0.5))), f.gep(a, at), size, True)
        f.end_loop(loop)
        f.ret()


@dataclass(frozen=True)
class DotSpec:
    """Chains of the bf16 dot-product instruction. Consts: result (base, offset), then length."""

    key: str = "benchmark dot products"

    def emit(self, module: Module, name: str) -> None:
        kernel = Kernel(module, name)
        f, sums, pairs = kernel.f, "<16 x float>", "<32 x bfloat>"
        module.declare(DOT, sums, [sums, pairs, pairs])
        target = f.gep(kernel.pointer(0), f.mul(kernel.task, i64(LINE)))
        pair = f.load(target, pairs, LINE)
        loop = f.loop(i64(0), kernel.const(2), i64(1), [const(sums, 0)] * CHAINS)
        operands = f"{pairs} {pair.ref}, {pairs} {pair.ref}"
        following = [
            f.emit(f"call {sums} @{DOT}({sums} {x.ref}, {operands})", sums) for x in loop.values
        ]
        f.store(total(f, f.end_loop(loop, following)), target, LINE)
        f.ret()


@dataclass(frozen=True)
class TileSpec:
    """2 x 2 tiles of AMX. Consts: configuration and a tile of 1 KB (base, offset), then length."""

    key: str = "benchmark tiles"

    def emit(self, module: Module, name: str) -> None:
        kernel = Kernel(module, name)
        f, config, source = kernel.f, kernel.pointer(0), kernel.pointer(2)
        for intrinsic, types in TILE_INTRINSICS.items():
            module.declare(f"llvm.x86.{intrinsic}", "void", types.split())
        f.do(f"call void @llvm.x86.ldtilecfg(ptr {config.ref})")
        for tile in range(4):
            f.do(f"call void @llvm.x86.tilezero(i8 {tile})")
            f.do(f"call void @llvm.x86.tileloadd64(i8 {tile + 4}, ptr {source.ref}, i64 64)")
        loop = f.loop(i64(0), kernel.const(4), i64(1))
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


def has_dot() -> bool:
    return host().avx512 and host().has("avx512bf16")
