"""Products with quantized matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, full_like, iota, zeros_like
from mlx.primitives.bitwise import BitwiseAnd, LeftShift, RightShift
from mlx.primitives.contraction import MatMul, adjoint
from mlx.primitives.elementwise import cast
from mlx.primitives.reductions import Sum, broadcast_axes
from mlx.primitives.views import reshape


@dataclass(frozen=True)
class QuantizedMatMul(Primitive):
    """``x[..., m, k] @ w[..., n, k].T``, with equal leading (batch) axes; ``x @ w`` where w is not
    ``transposed``.

    Element j of a row of w is ``scales[g] * code[j] + biases[g]`` with ``g = j // group``; in
    modes other than ``affine`` codes and scales are small floats, and there are no biases.  Codes
    of ``bits`` bits are packed into uint32, lowest bits first.  The result has the dtype
    of x, and sums are kept in float32.  With few rows of x elements of w are not rounded, and
    scales are multiplied to sums of codes times x, so an infinity in x gives NaN; with more,
    elements are rounded to bfloat16 where x is.
    """

    by_types = True
    family = "quantized"
    group: int
    bits: int
    transposed: bool = True
    mode: str = "affine"

    def infer(self, x: Node, w: Node, scales: Node, *biases: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        *lead, rows, words = w.shape
        along = words * 32 // self.bits
        n, k = (rows, along) if self.transposed else (along, rows)
        fits = (
            x.shape[:-2] == tuple(lead)
            and x.shape[-1] == k
            and scales.shape == (*lead, rows, along // self.group)
            and len(biases) == (self.mode == "affine")
            and all(b.shape == scales.shape and b.dtype is scales.dtype for b in biases)
            and w.dtype is dt.uint32
            and along % self.group == 0
        )
        if not fits:
            raise ValueError(f"[quantized_matmul] operands do not fit: {[x, w, scales, *biases]}.")
        return (*x.shape[:-1], n), x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, w, scales, *biases = node.inputs
        (cotangent,) = cotangents
        for_x = for_scales = for_biases = None
        if wanted[0]:
            other = replace(self, transposed=not self.transposed)
            for_x = other(cotangent, w, scales, *biases)
        if biases and (wanted[2] or wanted[3]):
            wide = dt.float32 if x.dtype.size == 2 else x.dtype
            of_rows, along = (cotangent, x) if self.transposed else (x, cotangent)
            outer = MatMul()(adjoint(cast(of_rows, wide)), cast(along, wide))
            for_scales, for_biases = self.of_scales(outer, w, scales, biases[0])
        return [for_x, None, for_scales, for_biases][: len(node.inputs)]

    def of_scales(self, outer: Node, w: Node, scales: Node, biases: Node) -> tuple[Node, Node]:
        """Cotangents of scales and biases from that of the elements."""
        grouped = reshape(outer, (*scales.shape, self.group))
        codes = cast(reshape(unpack(w, self.bits), grouped.shape), outer.dtype)
        total = Sum(scales.ndim)
        return cast(total(grouped * codes), scales.dtype), cast(total(grouped), biases.dtype)

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        x, w, scales, *biases = node.inputs
        of_x, _, of_scales, *rest = tangents
        of_biases = rest[0] if rest else None
        parts = []
        if of_x is not None:
            parts.append(self(of_x, w, scales, *biases))
        if biases and (of_scales is not None or of_biases is not None):
            moved = zeros_like(scales) if of_scales is None else of_scales
            shifted = zeros_like(biases[0]) if of_biases is None else of_biases
            parts.append(self(x, w, moved, shifted))
        return [parts[0] + parts[1] if len(parts) == 2 else parts[0] if parts else None]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)


def affine_values(w: Node, scales: Node, biases: Node, group: int, bits: int) -> Node:
    """The matrix that packed codes, scales and biases of one dtype stand for."""
    codes = unpack(w, bits)
    grouped = reshape(codes, (*scales.shape, group))
    out = cast(grouped, scales.dtype) * spread(scales, grouped) + spread(biases, grouped)
    return reshape(out, codes.shape)


def spread(per_group: Node, like: Node) -> Node:
    """What groups have in common, for each of their elements."""
    return broadcast_axes(per_group, like.shape, range(per_group.ndim))


def unpack(words: Node, bits: int) -> Node:
    """The codes of words of the last axis: one stream of bits, lowest first."""
    *lead, n = words.shape
    if 32 % bits == 0:
        wide = broadcast_axes(words, (*lead, n, 32 // bits), range(len(lead) + 1))
        at = iota(wide.shape, len(lead) + 1, dt.uint32) * bits
        shifted = RightShift()(wide, at)
        codes = BitwiseAnd()(shifted, full_like(shifted, 2**bits - 1))
        return reshape(codes, (*lead, n * 32 // bits))
    stream = reshape(unpack(words, 1), (*lead, n * 32 // bits, bits))
    at = iota(stream.shape, len(lead) + 1, dt.uint32)
    return Sum(len(lead) + 1)(LeftShift()(stream, at))
