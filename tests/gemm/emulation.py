"""Tile registers (AMX) in memory: lets their kernels run on a machine that has none."""

from __future__ import annotations

import re
from types import ModuleType

import pytest

from mlx.backend.llvm import emission, target
from mlx.backend.llvm.target import Target, host
from tests.gemm import runner

_TILES = """
@tiles = internal global [8 x [16 x <16 x i32>]] zeroinitializer, align 64

define internal ptr @tile(i8 %number) {
  %wide = zext i8 %number to i64
  %at = getelementptr [8 x [16 x <16 x i32>]], ptr @tiles, i64 0, i64 %wide
  ret ptr %at
}

define internal void @emulated_ldtilecfg(ptr %table) {
  ret void
}

define internal void @emulated_tilerelease() {
  store [8 x [16 x <16 x i32>]] zeroinitializer, ptr @tiles
  ret void
}

define internal void @emulated_tilezero(i8 %number) {
  %at = call ptr @tile(i8 %number)
  store [16 x <16 x i32>] zeroinitializer, ptr %at
  ret void
}

define internal void @emulated_tileloadd64(i8 %number, ptr %source, i64 %pitch) {
entry:
  %at = call ptr @tile(i8 %number)
  br label %next
next:
  %row = phi i64 [ 0, %entry ], [ %after, %next ]
  %offset = mul i64 %row, %pitch
  %from = getelementptr i8, ptr %source, i64 %offset
  %to = getelementptr <16 x i32>, ptr %at, i64 %row
  %value = load <16 x i32>, ptr %from, align 1
  store <16 x i32> %value, ptr %to
  %after = add i64 %row, 1
  %more = icmp slt i64 %after, 16
  br i1 %more, label %next, label %out
out:
  ret void
}

define internal void @emulated_tilestored64(i8 %number, ptr %target, i64 %pitch) {
entry:
  %at = call ptr @tile(i8 %number)
  br label %next
next:
  %row = phi i64 [ 0, %entry ], [ %after, %next ]
  %offset = mul i64 %row, %pitch
  %to = getelementptr i8, ptr %target, i64 %offset
  %from = getelementptr <16 x i32>, ptr %at, i64 %row
  %value = load <16 x i32>, ptr %from
  store <16 x i32> %value, ptr %to, align 1
  %after = add i64 %row, 1
  %more = icmp slt i64 %after, 16
  br i1 %more, label %next, label %out
out:
  ret void
}

"""

_PRODUCTS = """
define internal <16 x float> @product(<16 x i32> %a, <16 x i32> %b, <16 x float> %sum) {
  %x = bitcast <16 x i32> %a to <16 x float>
  %y = bitcast <16 x i32> %b to <16 x float>
  %xy = fmul <16 x float> %x, %y
  %total = fadd <16 x float> %sum, %xy
  ret <16 x float> %total
}

define internal <16 x i32> @pairs(<16 x i32> %as, <16 x i32> %bs, <16 x i32> %old) {
  %sum = bitcast <16 x i32> %old to <16 x float>
  %a_low = shl <16 x i32> %as, splat (i32 16)
  %b_low = shl <16 x i32> %bs, splat (i32 16)
  %a_high = and <16 x i32> %as, splat (i32 -65536)
  %b_high = and <16 x i32> %bs, splat (i32 -65536)
  %one = call <16 x float> @product(<16 x i32> %a_low, <16 x i32> %b_low, <16 x float> %sum)
  %two = call <16 x float> @product(<16 x i32> %a_high, <16 x i32> %b_high, <16 x float> %one)
  %total = bitcast <16 x float> %two to <16 x i32>
  ret <16 x i32> %total
}
"""

_BYTES = """
define internal <16 x i32> @runs_NAME(<16 x i32> %as, <16 x i32> %bs, <16 x i32> %sum) {
  %a = bitcast <16 x i32> %as to <64 x i8>
  %b = bitcast <16 x i32> %bs to <64 x i8>
  %a_wide = LEFT <64 x i8> %a to <64 x i32>
  %b_wide = RIGHT <64 x i8> %b to <64 x i32>
  %all = mul <64 x i32> %a_wide, %b_wide
PARTS
  ret <16 x i32> %sum4
}
"""

_DOT = """
define internal void @emulated_NAME(i8 %c, i8 %a, i8 %b) {
entry:
  %c_at = call ptr @tile(i8 %c)
  %a_at = call ptr @tile(i8 %a)
  %b_at = call ptr @tile(i8 %b)
  br label %next
next:
  %step = phi i64 [ 0, %entry ], [ %after, %next ]
  %row = lshr i64 %step, 4
  %k = and i64 %step, 15
  %c_row = getelementptr <16 x i32>, ptr %c_at, i64 %row
  %a_one = getelementptr i32, ptr %a_at, i64 %step
  %b_row = getelementptr <16 x i32>, ptr %b_at, i64 %k
  %sum = load <16 x i32>, ptr %c_row
  %run = load i32, ptr %a_one
  %first = insertelement <16 x i32> poison, i32 %run, i64 0
  %as = shufflevector <16 x i32> %first, <16 x i32> poison, <16 x i32> zeroinitializer
  %bs = load <16 x i32>, ptr %b_row
  %total = call <16 x i32> @FORM(<16 x i32> %as, <16 x i32> %bs, <16 x i32> %sum)
  store <16 x i32> %total, ptr %c_row
  %after = add i64 %step, 1
  %more = icmp slt i64 %after, 256
  br i1 %more, label %next, label %out
out:
  ret void
}
"""
_SIGNS = {"s": "sext", "u": "zext"}
_INSTRUCTIONS = "ldtilecfg|tilerelease|tilezero|tileloadd64|tilestored64|tdpbf16ps|tdpb[su][su]d"


def _bytes(signs: str) -> str:
    """Products of bytes of these signs, and the instruction that sums them by fours."""
    parts = []
    for n in range(4):
        lanes = ", ".join(f"i32 {lane}" for lane in range(n, 64, 4))
        parts.append(
            f"  %part{n} = shufflevector <64 x i32> %all, <64 x i32> poison, <16 x i32> <{lanes}>"
        )
        old = f"%sum{n}" if n else "%sum"
        parts.append(f"  %sum{n + 1} = add <16 x i32> {old}, %part{n}")
    runs = _BYTES.replace("NAME", signs).replace("PARTS", "\n".join(parts))
    runs = runs.replace("LEFT", _SIGNS[signs[0]]).replace("RIGHT", _SIGNS[signs[1]])
    return runs + _DOT.replace("NAME", f"tdpb{signs}d").replace("FORM", f"runs_{signs}")


_DOTS = _PRODUCTS + _DOT.replace("NAME", "tdpbf16ps").replace("FORM", "pairs")
_DOTS += "".join(_bytes(signs) for signs in ("ss", "su", "us", "uu"))


def emulated(text: str) -> str:
    """The IR with its tile instructions replaced by functions."""
    lines = [
        line
        for line in text.splitlines()
        if not re.match("declare .*llvm.x86.t|declare .*ldtile", line)
    ]
    return (
        re.sub(rf"@llvm\.x86\.({_INSTRUCTIONS})", r"@emulated_\1", "\n".join(lines))
        + _TILES
        + _DOTS
    )


_FEATURES = ",+amx-tile,+amx-bf16,+amx-int8"


def pretend_everywhere() -> None:
    """From here on this process, which must have one thread, finds tile registers."""
    features, emitted_of = target.host_features(), emission._emitted
    target.host_features = lambda: features + _FEATURES
    target.host.cache_clear()
    emission._emitted = lambda text: emitted_of(emulated(text))


def pretend(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Modules that ask ``host`` find tile registers, and the runner's kernels have these."""
    machine = Target(host().features + _FEATURES, host().triple)
    for module in modules:
        monkeypatch.setattr(module, "host", lambda: machine)
    monkeypatch.setattr(runner, "_libraries", {})
    compile_ir = runner.jit.compile_ir
    monkeypatch.setattr(
        runner.jit, "compile_ir", lambda text, symbols: compile_ir(emulated(text), symbols)
    )
