"""Products of rows with matrices that they choose."""

from __future__ import annotations

from typing import Any

from mlx.backend.llvm.abi import Command
from mlx.backend.llvm.chosen.outer import plan_outer
from mlx.backend.llvm.chosen.plan import plan_product
from mlx.backend.llvm.chosen.quantized import plan_chosen_quantized

__all__ = ["plan_chosen"]
_PLANS = {
    "ChosenMatMul": plan_product,
    "ChosenOuter": plan_outer,
    "ChosenQuantizedMatMul": plan_chosen_quantized,
}


def plan_chosen(primitive: Any, *given: Any) -> list[Command]:
    """The commands of a primitive of the family."""
    return _PLANS[primitive.name](primitive, *given)
