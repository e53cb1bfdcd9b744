"""The Hadamard transform of the last axis, for powers of two; leading axes are batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive


@dataclass(frozen=True)
class Hadamard(Primitive):
    """The last axis times Sylvester's matrix, then ``scale``; the matrix is symmetric, so the
    transform is its own adjoint.

    Neighbours are added and subtracted first, then elements 2 apart, 4 apart, ...; float16 and
    bfloat16 are summed in float32 and rounded at the end.
    """

    family = "hadamard"
    scale: float

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        size = x.shape[-1] if x.ndim else 0
        if not x.dtype.is_float or size <= 0 or size & (size - 1):
            raise ValueError(
                "[hadamard_transform] Expected floating-point numbers along an axis of 2^k, "
                f"not {x.dtype} of shape {x.shape}."
            )
        return x.shape, x.dtype

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return self(x)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [self(cotangents[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]
