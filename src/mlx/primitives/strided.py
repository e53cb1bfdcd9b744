"""The view of a flat array by any strides, windows that overlap included."""

from __future__ import annotations

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import full, iota
from mlx.primitives.elementwise import cast
from mlx.primitives.indexing import ScatterSum
from mlx.primitives.layout import Layout
from mlx.primitives.views import View, reshape


@dataclass(frozen=True)
class AsStrided(View):
    """Element (i, j, ...) is element ``offset + i strides[0] + j strides[1] + ...`` of x in
    row-major order."""

    sizes = frozenset({"shape"})
    shape: Shape
    strides: tuple[int, ...]
    offset: int = 0

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        reaches = [(n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)]
        first = self.offset + sum(r for r in reaches if r < 0)
        last = self.offset + sum(r for r in reaches if r > 0)
        if 0 not in self.shape and not (first >= 0 and last < x.size):
            raise IndexError(
                f"[as_strided] Shape {self.shape} with strides {self.strides} and offset "
                f"{self.offset} reaches from element {first} to {last}, of {x.size}."
            )
        return self.shape, x.dtype

    def transpose(self, cotangent: Node, x: Node) -> Node:
        """The sum of the cotangents of all that shows an element."""
        at = full(self.shape, dt.int64, self.offset)
        for axis, step in enumerate(self.strides):
            at = at + iota(self.shape, axis, dt.int64) * step
        exact = dt.float32 if x.dtype in (dt.float16, dt.bfloat16) else x.dtype
        total = ScatterSum((0,), (x.size,))(cast(cotangent, exact), at)
        return reshape(cast(total, x.dtype), x.shape)

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        each = x.size // size if size else 0
        return AsStrided((size, *self.shape), (each, *self.strides), self.offset)(x)

    def layout(self, of: Layout) -> Layout | None:
        if not of.is_contiguous():
            return None
        axes = tuple(((n, step),) for n, step in zip(self.shape, self.strides, strict=True))
        return Layout(axes, of.offset + self.offset)
