"""Primitives with kernels of their own: which planner serves which family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.argreduce import plan_argreduce
from mlx.backend.llvm.attention import plan_attention
from mlx.backend.llvm.fourier import plan_fourier, plan_real_fourier
from mlx.backend.llvm.hadamard import plan_hadamard
from mlx.backend.llvm.indexing import plan_indexing
from mlx.backend.llvm.lapack import NAMES, plan_lapack
from mlx.backend.llvm.quantized import plan_quantized
from mlx.backend.llvm.scan import plan_scan
from mlx.backend.llvm.sorting import plan_sort

Planner = Callable[..., list[Command]]
PLANNERS: dict[str, Planner] = {
    "argreduce": plan_argreduce,
    "attention": plan_attention,
    "hadamard": plan_hadamard,
    "indexing": plan_indexing,
    "scan": plan_scan,
    "ordering": plan_sort,
    "quantized": plan_quantized,
}


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
    return planner(primitive, inputs, outputs, scratch, workers)


NATIVE: dict[str, Callable[..., list[Command] | None]] = {
    "Fourier": plan_fourier,
    "RealFourier": plan_real_fourier,
    **dict.fromkeys(NAMES, plan_lapack),
}


def native(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command] | None:
    """The commands of a library's routine that we have kernels for, at these sizes, or None."""
    planner = NATIVE.get(primitive.name)
    return None if planner is None else planner(primitive, inputs, outputs, scratch, workers)
