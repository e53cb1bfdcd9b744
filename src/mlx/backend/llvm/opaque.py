"""Primitives with kernels of their own: which planner serves which family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.base.lazy import LazyModule

argreduce = LazyModule("mlx.backend.llvm.argreduce")
attention = LazyModule("mlx.backend.llvm.attention")
chosen = LazyModule("mlx.backend.llvm.chosen")
fourier = LazyModule("mlx.backend.llvm.fourier")
hadamard = LazyModule("mlx.backend.llvm.hadamard")
indexing = LazyModule("mlx.backend.llvm.indexing")
lapack = LazyModule("mlx.backend.llvm.lapack")
quantized = LazyModule("mlx.backend.llvm.quantized_plan")
resample = LazyModule("mlx.backend.llvm.resample_plan")
scan = LazyModule("mlx.backend.llvm.scan")
sorting = LazyModule("mlx.backend.llvm.sorting")

Planner = Callable[..., list[Command]]
PLANNERS: dict[str, Callable[[], Planner]] = {
    "argreduce": lambda: argreduce.plan_argreduce,
    "attention": lambda: attention.plan_attention,
    "chosen": lambda: chosen.plan_chosen,
    "hadamard": lambda: hadamard.plan_hadamard,
    "indexing": lambda: indexing.plan_indexing,
    "scan": lambda: scan.plan_scan,
    "ordering": lambda: sorting.plan_sort,
    "quantized": lambda: quantized.plan_quantized,
    "resample": lambda: resample.plan_resample,
}
"""What finds a family's planner, whose module few programs need."""


def lower(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The commands of one opaque primitive.  Raises TypeError for a family without a kernel."""
    planner = PLANNERS.get(primitive.family)
    if planner is None:
        raise TypeError(f"[{primitive.name}] family {primitive.family!r} has no kernel.")
    return planner()(primitive, inputs, outputs, scratch, workers)


def native(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command] | None:
    """The commands of a library's routine that we have kernels for, at these sizes, or None."""
    planner: Callable[..., list[Command] | None]
    if primitive.name == "Fourier":
        planner = fourier.plan_fourier
    elif primitive.name == "RealFourier":
        planner = fourier.plan_real_fourier
    elif primitive.name in lapack.NAMES:
        planner = lapack.plan_lapack
    else:
        return None
    return planner(primitive, inputs, outputs, scratch, workers)
