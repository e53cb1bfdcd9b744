"""Products of rows with matrices that they choose."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Command
from mlx.backend.llvm.chosen.outer import plan_outer
from mlx.backend.llvm.chosen.plan import plan_product

__all__ = ["plan_chosen"]


def plan_chosen(primitive: Any, *given: Any) -> list[Command]:
    """The commands of a primitive of the family."""
    plan = plan_outer if primitive.name == "ChosenOuter" else plan_product
    return plan(primitive, *given)
