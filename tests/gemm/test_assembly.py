"""What LLVM makes of the micro-kernels, also for processors that this machine is not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mlx.backend.llvm.attention import tile as attention_tile
from mlx.backend.llvm.attention.backward import BackwardSpec
from mlx.backend.llvm.attention.forward import ForwardSpec
from mlx.backend.llvm.gemm import tile
from mlx.backend.llvm.gemm.micro import micro_kernel
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.target import Target, host

_X86, _ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"
_AVX2 = "+avx2,+fma,+f16c,+bmi,+bmi2"
_AVX512 = _AVX2 + ",+avx512f,+avx512bw,+avx512dq,+avx512vl"
TARGETS = {
    "avx2": Target(_AVX2, _X86),
    "avx512": Target(_AVX512, _X86),
    "bf16": Target(_AVX512 + ",+avx512bf16", _X86),
    "amx": Target(_AVX512 + ",+avx512bf16,+amx-tile,+amx-bf16,+amx-int8", _X86),
    "vnni": Target(_AVX512 + ",+avx512vnni", _X86),
    "avxvnni": Target(_AVX2 + ",+avxvnni", _X86),
    "dotprod": Target("+neon,+fp-armv8,+dotprod", _ARM),
    "neon": Target("+neon,+fp-armv8", _ARM),
}
CASES = [  # target, dtype, instruction, memory that spilled registers would be in
    ("avx2", "float32", "vfmadd", "sp)"),
    ("avx2", "float64", "vfmadd", "sp)"),
    ("avx512", "float32", "vfmadd", "sp)"),
    ("avx512", "float64", "vfmadd", "sp)"),
    ("bf16", "bfloat16", "vdpbf16ps", "sp)"),
    ("amx", "bfloat16", "tdpbf16ps", "sp)"),
    ("amx", "int8", "tdpbssd", "sp)"),
    ("vnni", "int8", "vpdpbusd", "sp)"),
    ("vnni", "int16", "vpdpwssd", "sp)"),
    ("avxvnni", "int8", "vpdpbusd", "sp)"),
    ("avx512", "int8", "vpmaddwd", "sp)"),
    ("avx2", "int16", "vpmaddwd", "sp)"),
    ("dotprod", "int8", "sdot", "[sp"),
    ("neon", "float32", "fmla", "[sp"),
    ("neon", "float64", "fmla", "[sp"),
]


@pytest.fixture(scope="module", autouse=True)
def every_target() -> Iterator[None]:
    binding().initialize_all_targets()
    binding().initialize_all_asmprinters()
    yield


def assembly(target: Target, dtype: str, a_format: str, stored: str = "") -> tuple[tile.Tile, str]:
    """The largest micro-kernel of a target, and its tile."""
    accumulate = {"bfloat16": "float32", "int8": "int32", "int16": "int32"}.get(dtype, dtype)
    shape = tile.tile_of_product(dtype, dtype, accumulate, target)
    module = Module()
    micro_kernel(module, shape, a_format, shape.rows, shape.vectors, stored or accumulate)
    return shape, assembled(module, target)


def assembled(module: Module, target: Target) -> str:
    """What LLVM makes of a module; private functions are kept though nobody calls them."""
    llvm = binding()
    text = module.text(target.attributes()).replace("define internal", "define")
    machine = llvm.Target.from_triple(target.triple).create_target_machine(
        cpu="", features=target.features, opt=2, reloc="pic", codemodel="small"
    )
    return machine.emit_assembly(llvm.parse_assembly(text))


def inner_loop(text: str, instruction: str) -> str:
    """The block with most of the instructions."""
    blocks = re.split(r"^\.?L\w+:", text, flags=re.MULTILINE)
    return max(blocks, key=lambda block: block.count(instruction))


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(case[:2]))
def test_accumulators_stay_in_registers(case: tuple[str, str, str, str]) -> None:
    name, dtype, instruction, spill = case
    formats = ["row"] if name == "amx" or dtype.startswith("int") else ["row", "col"]
    for a_format in formats:
        shape, text = assembly(TARGETS[name], dtype, a_format)
        loop = inner_loop(text, instruction)
        wanted = 4 if name == "amx" else shape.rows * shape.vectors
        assert loop.count(instruction) == wanted
        assert spill not in loop


def test_pairs_are_rounded_two_vectors_at_once() -> None:
    shape, text = assembly(TARGETS["bf16"], "bfloat16", "row", "bfloat16")
    assert text.count("vcvtne2ps2bf16") == shape.rows
    loop = inner_loop(text, "vdpbf16ps")
    assert loop.count("vdpbf16ps") == shape.rows * shape.vectors and "sp)" not in loop


def test_widths_follow_the_target() -> None:
    for name, register in (("avx2", "ymm"), ("avx512", "zmm"), ("neon", ".4s")):
        _, text = assembly(TARGETS[name], "float32", "row")
        assert register in text


@pytest.mark.skipif(not host().has("avx512bf16"), reason="other instructions are the host's")
@pytest.mark.parametrize("spec", [
    ForwardSpec("bfloat16", "kqv", "", "", True, 32), BackwardSpec("bfloat16", "kqvo", "", True),
], ids=lambda spec: type(spec).__name__)  # fmt: skip
def test_attention_multiplies_on_tiles(spec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target(host().features + ",+amx-tile,+amx-bf16", host().triple)
    monkeypatch.setattr(attention_tile, "host", lambda: target)
    attention_tile.tile_for.cache_clear()
    module = Module()
    spec.emit(module, "kernel")
    attention_tile.tile_for.cache_clear()
    text = assembled(module, target)
    for instruction in ("ldtilecfg", "tdpbf16ps", "tileloadd", "tilestored", "tilerelease"):
        assert instruction in text
