"""The product along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node
from mlx.primitives.elementwise import Conjugate
from mlx.primitives.reductions import Reduction, Sum
from mlx.primitives.scans import CumProd


@dataclass(frozen=True)
class Prod(Reduction):
    """The product along an axis (all, for bool)."""

    axis: int

    def identity(self, dtype: Dtype) -> Any:
        return 1

    def combine(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.mul(a, b)

    def _others(self, x: Node) -> Node:
        """For each element the product of all others, without dividing (x may hold zeros)."""
        before = CumProd(self.axis, reverse=False, inclusive=False)(x)
        return before * CumProd(self.axis, reverse=True, inclusive=False)(x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (x,) = node.inputs
        others = self._others(x)
        if x.dtype.is_complex:
            others = Conjugate()(others)
        return [others * self.spread(cotangents[0], x)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [Sum(self.axis)(self._others(node.inputs[0]) * tangents[0])]
