"""Kernels of the indexing family."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.indexing.carry import plan_carry
from mlx.backend.llvm.indexing.fill import plan_zeros
from mlx.backend.llvm.indexing.gather import plan_check, plan_gather
from mlx.backend.llvm.indexing.scatter_plan import plan_updates

__all__ = ["plan_carry", "plan_check", "plan_indexing"]


def plan_indexing(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """The commands of a Gather, a ScatterSum, or a Scatter into what its result holds already."""
    (out,) = outputs
    if primitive.name == "Gather":
        return plan_gather(primitive, inputs[0], inputs[1:], out, workers)
    updates, *indices = inputs
    if primitive.name == "ScatterSum":
        return plan_zeros(out, workers) + plan_updates(
            primitive, "add", updates, indices, out, workers
        )
    return plan_updates(primitive, primitive.mode, updates, indices, out, workers)
