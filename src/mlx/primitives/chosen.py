"""Products of rows with matrices that they choose (layers of experts)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, iota, zeros_like
from mlx.primitives.contraction import adjoint
from mlx.primitives.elementwise import Conjugate, cast
from mlx.primitives.quantized import QuantizedMatMul
from mlx.primitives.reductions import Broadcast, broadcast_axes
from mlx.primitives.views import reshape, transpose


def fits(name: str, x: Node, index: Node, matrices: Node) -> None:
    """Rows of x are so many for each index (a mismatch is a bug in the caller)."""
    items = index.size
    whole = items and x.shape[0] % items == 0
    if x.ndim != 2 or index.ndim != 1 or not index.dtype.is_integer or not whole:
        raise ValueError(f"[{name}] operands do not fit: {[x, matrices, index]}.")


@dataclass(frozen=True)
class ChosenMatMul(Primitive):
    """Row r of ``x[rows, k]`` times ``w[index[r // m]]``, where ``w`` is [choices, k, n] and ``m``
    rows share an index.

    Indices are in bounds and not negative.  Rows are ordered by their matrix, so that each is
    read (and packed) once for all of its rows; each element is one chain over k.
    """

    family = "chosen"

    def infer(self, x: Node, w: Node, index: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        fits("gather_mm", x, index, w)
        if w.ndim != 3 or w.shape[1] != x.shape[1] or x.dtype is not w.dtype or not w.shape[0]:
            raise ValueError(f"[gather_mm] operands do not fit: {[x, w, index]}.")
        return (x.shape[0], w.shape[2]), x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, w, index = node.inputs
        (cotangent,) = cotangents
        for_x = self(cotangent, adjoint(w), index) if wanted[0] else None
        for_w = ChosenOuter(w.shape[0])(conjugate(x), cotangent, index) if wanted[1] else None
        return [for_x, for_w, None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        x, w, index = node.inputs
        parts = [] if tangents[0] is None else [self(tangents[0], w, index)]
        if tangents[1] is not None:
            parts.append(self(x, tangents[1], index))
        return [parts[0] + parts[1] if len(parts) == 2 else parts[0] if parts else None]

    def vmap(self, size: int, x: Node, w: Node, index: Node) -> Node:  # type: ignore[override]
        out = self(merged(x), *choices_of_all(size, index, w))
        return reshape(out, (size, *x.shape[1:-1], out.shape[-1]))


def merged(x: Node) -> Node:
    """The first two axes as one."""
    return reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def choices_of_all(size: int, index: Node, *parts: Node) -> list[Node]:
    """Matrices of all examples and the indices among them; what all examples share stays."""
    shared = [_shared(p) for p in parts]
    if all(p is not None for p in shared):
        return [*[p for p in shared if p is not None], merged(index)]
    first = iota(index.shape, 0, index.dtype) * parts[0].shape[1]
    return [*[merged(p) for p in parts], merged(index + first)]


def _shared(x: Node) -> Node | None:
    primitive = x.primitive
    if type(primitive) is Broadcast and primitive.axes == tuple(range(1, x.ndim)) and x.inputs:
        return x.inputs[0] if x.inputs[0].shape == x.shape[1:] else None
    return None


@dataclass(frozen=True)
class ChosenOuter(Primitive):
    """For each of ``choices`` matrices the sum, over the rows that choose it, of outer products:
    ``out[c] = x[rows, k].T @ y[rows, n]`` with the rows of c alone (ChosenMatMul's gradient).

    Each element is one chain over these rows.
    """

    family = "chosen"
    choices: int

    def infer(self, x: Node, y: Node, index: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        fits("gather_mm", x, index, y)
        if y.ndim != 2 or y.shape[0] != x.shape[0] or x.dtype is not y.dtype:
            raise ValueError(f"[gather_mm] operands do not fit: {[x, y, index]}.")
        return (self.choices, x.shape[1], y.shape[1]), x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, y, index = node.inputs
        (cotangent,) = cotangents
        times = ChosenMatMul()
        turned = transpose(cotangent, (0, 2, 1))
        for_x = times(conjugate(y), turned, index) if wanted[0] else None
        for_y = times(conjugate(x), cotangent, index) if wanted[1] else None
        return [for_x, for_y, None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        x, y, index = node.inputs
        parts = [] if tangents[0] is None else [self(tangents[0], y, index)]
        if tangents[1] is not None:
            parts.append(self(x, tangents[1], index))
        return [parts[0] + parts[1] if len(parts) == 2 else parts[0] if parts else None]

    def vmap(self, size: int, x: Node, y: Node, index: Node) -> Node:  # type: ignore[override]
        first = iota(index.shape, 0, index.dtype) * self.choices
        out = ChosenOuter(size * self.choices)(merged(x), merged(y), merged(index + first))
        return reshape(out, (size, self.choices, *out.shape[1:]))


def conjugate(x: Node) -> Node:
    """As it is where real."""
    return Conjugate()(x) if x.dtype.is_complex else x


@dataclass(frozen=True)
class ChosenQuantizedMatMul(Primitive):
    """As ChosenMatMul, with matrices quantized as those of ``of``: inputs are x, then what
    stands for w[choices, ...], then the indices."""

    family = "chosen"
    of: QuantizedMatMul

    def infer(self, x: Node, *rest: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        *parts, index = rest
        fits("gather_qmm", x, index, parts[0])
        one = broadcast_axes(x, (parts[0].shape[0], *x.shape), (1, 2))
        (_, rows, n), dtype = self.of.infer(one, *parts)
        return (rows, n), dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, *parts, index = node.inputs
        (cotangent,) = cotangents
        for_x = None
        if wanted[0]:
            other = replace(self.of, transposed=not self.of.transposed)
            for_x = ChosenQuantizedMatMul(other)(cotangent, *parts, index)
        for_parts: list[Node | None] = [None] * len(parts)
        if len(parts) == 3 and (wanted[2] or wanted[3]):
            wide = dt.float32 if x.dtype.size == 2 else x.dtype
            pair = (cotangent, x) if self.of.transposed else (x, cotangent)
            outer = ChosenOuter(parts[0].shape[0])(*(cast(p, wide) for p in pair), index)
            for_parts = [None, *self.of.of_scales(outer, *parts)]
        return [for_x, *for_parts, None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        x, *parts, index = node.inputs
        of_x, _, *of_parts, _ = tangents
        found = [] if of_x is None else [self(of_x, *parts, index)]
        if any(t is not None for t in of_parts):
            pairs = zip(of_parts, parts[1:], strict=True)
            moved = [zeros_like(p) if t is None else t for t, p in pairs]
            found.append(self(x, parts[0], *moved, index))
        return [found[0] + found[1] if len(found) == 2 else found[0] if found else None]

    def vmap(self, size: int, x: Node, *rest: Node) -> Node:  # type: ignore[override]
        *parts, index = rest
        out = self(merged(x), *choices_of_all(size, index, *parts))
        return reshape(out, (size, *x.shape[1:-1], out.shape[-1]))
