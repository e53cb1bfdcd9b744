"""Convolutions, channels last, and the correlation that is their gradient for the weights.

Position p of the result sees element ``p * stride + tap * dilation - low`` of an input whose
elements lie ``spread`` apart, zeros between and around them.  Each of the two is the other's
derivative, so any order of derivatives is made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Full, full
from mlx.primitives.contraction import Contraction, MatMul
from mlx.primitives.reductions import Broadcast
from mlx.primitives.views import Embed, Slice, reshape, transpose

_MOST_PHASES = 1024
"""Products of spreads up to which zeros between elements are skipped, not written out."""
_NARROW = 8
"""Outputs of phases that leave most lanes empty by themselves."""
_FEW_OUTPUTS, _FEW_PHASES = 32, 16
"""Of one phase, and phases: products of their own up to so many of so many outputs or more."""

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Convolution(Contraction):
    """``(N, spatial..., C)`` with weights ``(O, kernel..., C / groups)``: (N, found..., O)."""

    form = "convolution"
    by_types = True
    sizes = frozenset({"low", "high"})
    strides: Numbers
    low: Numbers
    high: Numbers
    dilation: Numbers
    spread: Numbers
    groups: int

    @property
    def size_values(self) -> tuple[Any, ...]:
        return (*self.low, *self.high)

    def infer(self, x: Node, w: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        found = tuple(
            (wide(n, e) + before + after - (k - 1) * d - 1) // s + 1
            for n, e, before, after, k, d, s in zip(
                x.shape[1:-1], self.spread, self.low, self.high, w.shape[1:-1],
                self.dilation, self.strides, strict=True,
            )
        )  # fmt: skip
        fits = x.shape[-1] == w.shape[-1] * self.groups and w.shape[0] % self.groups == 0
        if x.dtype is not w.dtype or not fits or min(found) < 0:
            raise ValueError(f"[convolution] operands do not fit {self}: {[x, w]}.")
        return (x.shape[0], *found, w.shape[0]), x.dtype

    def tiling(self, node: Node) -> tuple[Shape, Numbers]:
        *places, outputs = node.shape
        each = outputs // self.groups
        inputs = node.inputs[1].shape[-1]
        are_lanes = _are_lanes(self.groups, inputs, each) and not inputs == each == 8
        groups = 1 if are_lanes else self.groups
        return (prod(places), groups, outputs // groups), (1, 0, 2)

    def depth(self, node: Node) -> int:
        return prod(node.inputs[1].shape[1:])

    def reads(self, position: int, shape: Shape, strides: Numbers) -> bool:
        return position == 1 or _is_run(shape, strides)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, w = node.inputs
        (cotangent,) = cotangents
        for_x = self._for_input(cotangent, w, x) if wanted[0] else None
        for_w = self._for_weights(x, cotangent, w.shape[1:-1]) if wanted[1] else None
        return [for_x, for_w]

    def _for_input(self, cotangent: Node, w: Node, x: Node) -> Node:
        """What every element of x contributes to: strides and spread change roles."""
        spans = [(k - 1) * d for k, d in zip(w.shape[1:-1], self.dilation, strict=True)]
        low = tuple(s - before for s, before in zip(spans, self.low, strict=True))
        high = tuple(
            wide(n, e) - wide(p, s) + before
            for n, e, p, s, before in zip(
                x.shape[1:-1], self.spread, cotangent.shape[1:-1], self.strides, self.low,
                strict=True,
            )
        )  # fmt: skip
        if 0 in x.shape or 0 in cotangent.shape:
            return full(x.shape, x.dtype, 0)
        turned = exchanged(w, self.groups)
        return convolution(
            cotangent, turned, self.spread, low, high, self.dilation, self.strides, self.groups
        )

    def _for_weights(self, x: Node, cotangent: Node, kernel: Shape) -> Node:
        fewer = 2 * prod(x.shape[1:-1]) <= prod(cotangent.shape[1:-1])
        if (max(self.spread) > 1 or fewer) and max(self.strides) == 1:
            low = tuple(
                (k - 1) * d - before
                for k, d, before in zip(kernel, self.dilation, self.low, strict=True)
            )
            same = Correlation(self.spread, low, self.dilation, self.groups, kernel)
            return exchanged(same(cotangent, x), self.groups)
        x = spaced(x, self.spread)
        return Correlation(self.strides, self.low, self.dilation, self.groups, kernel)(x, cotangent)

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [_sum_of_products(self, node, tangents)]

    def vmap(self, size: int, x: Node, w: Node) -> Node:  # type: ignore[override]
        alone_x, alone_w = _same_for_all(x), _same_for_all(w)
        if alone_w is not None:
            merged = reshape(x, (size * x.shape[1], *x.shape[2:]))
            out = self(merged, alone_w)
            return reshape(out, (size, x.shape[1], *out.shape[1:]))
        groups, outer = self.groups, 1
        if alone_x is not None:
            x, w, outer = alone_x, _behind(w, groups, 0), groups
        else:
            x, w, groups = _behind(x, 1, x.ndim - 2), _behind(w, 1, 0), groups * size
        out = Convolution(
            self.strides, self.low, self.high, self.dilation, self.spread, groups
        )(x, w)  # fmt: skip
        return _in_front(out, size, outer, out.ndim - 1)


@dataclass(frozen=True)
class Correlation(Contraction):
    """``sum over n, p of x[n, p * stride + tap * dilation - low, c] * y[n, p, o]``.

    x is (N, spatial..., C), y (N, places..., O); the result (O, kernel..., C / groups).
    """

    form = "correlation"
    by_types = True
    sizes = frozenset({"low", "kernel"})
    strides: Numbers
    low: Numbers
    dilation: Numbers
    groups: int
    kernel: Numbers

    @property
    def size_values(self) -> tuple[Any, ...]:
        return self.low

    def infer(self, x: Node, y: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        groups = self.groups
        fits = x.shape[0] == y.shape[0] and not (x.shape[-1] % groups or y.shape[-1] % groups)
        if x.dtype is not y.dtype or x.ndim != y.ndim or not fits:
            raise ValueError(f"[correlation] operands do not fit {self}: {[x, y]}.")
        return (y.shape[-1], *self.kernel, x.shape[-1] // groups), x.dtype

    def tiling(self, node: Node) -> tuple[Shape, Numbers]:
        outputs, *rest = node.shape
        each = outputs // self.groups
        groups = 1 if _are_lanes(self.groups, rest[-1], each) else self.groups
        return (groups, outputs // groups, prod(rest)), (0, 1, 2)

    def depth(self, node: Node) -> int:
        return prod(node.inputs[1].shape[:-1])

    def reads(self, position: int, shape: Shape, strides: Numbers) -> bool:
        if (position == 0 or self.groups > 1) and not _is_run(shape, strides):
            return False
        if position == 0:
            return True
        pairs = list(zip(shape, strides, strict=True))[:-1]
        pairs = [(n, s) for n, s in pairs if n != 1]
        return all(a == s * n for (_, a), (n, s) in zip(pairs, pairs[1:], strict=False))

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        x, y = node.inputs
        (cotangent,) = cotangents
        high = tuple(
            (p - 1) * s + (k - 1) * d + 1 - n - before
            for p, s, k, d, n, before in zip(
                y.shape[1:-1], self.strides, self.kernel, self.dilation, x.shape[1:-1], self.low,
                strict=True,
            )
        )  # fmt: skip
        ones = (1,) * len(self.kernel)
        forward = Convolution(self.strides, self.low, high, self.dilation, ones, self.groups)
        for_x = forward._for_input(y, cotangent, x) if wanted[0] else None
        for_y = None
        if wanted[1]:
            for_y = full(y.shape, y.dtype, 0) if 0 in y.shape else forward(x, cotangent)
        return [for_x, for_y]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [_sum_of_products(self, node, tangents)]

    def vmap(self, size: int, x: Node, y: Node) -> Node:  # type: ignore[override]
        alone_x, alone_y = _same_for_all(x), _same_for_all(y)
        channels = x.ndim - 2
        groups, outer, axis = self.groups, 1, 0
        if alone_x is not None:
            x, y, outer = alone_x, _behind(y, groups, channels), groups
        elif alone_y is not None:
            x, y, axis = _behind(x, groups, channels), alone_y, channels
        else:
            x, y, groups = _behind(x, 1, channels), _behind(y, 1, channels), groups * size
        made = Correlation(self.strides, self.low, self.dilation, groups, self.kernel)(x, y)
        return _in_front(made, size, outer, axis)


def _sum_of_products(self: Contraction, node: Node, tangents: Any) -> Node | None:
    """The derivative of what is linear in both operands."""
    a, b = node.inputs
    left = None if tangents[0] is None else self(tangents[0], b)
    right = None if tangents[1] is None else self(a, tangents[1])
    if left is None or right is None:
        return right if left is None else left
    return left + right


def wide(size: int, spread: int) -> int:
    """The size of an axis whose elements lie ``spread`` apart."""
    return (size - 1) * spread + 1 if size else 0


def spaced(x: Node, spread: Numbers) -> Node:
    """Zeros written between the elements."""
    if max(spread) == 1:
        return x
    sizes = [wide(n, e) for n, e in zip(x.shape[1:-1], spread, strict=True)]
    return Embed((0,) * x.ndim, (1, *spread, 1), (x.shape[0], *sizes, x.shape[-1]))(x)


def convolution(
    x: Node, w: Node, strides: Numbers, low: Numbers, high: Numbers, dilation: Numbers,
    spread: Numbers, groups: int,
) -> Node:  # fmt: skip
    """A Convolution; elements that are spread far are written out with their zeros."""
    if _are_blocks(w, strides, low, dilation, spread, groups):
        return _blocks(x, w, low, high)
    if _are_columns(w, strides, dilation, spread, groups):
        return _phases_as_columns(x, w, strides, low, high, dilation, spread)
    if prod(spread) > _MOST_PHASES:
        x, spread = spaced(x, spread), (1,) * len(spread)
    return Convolution(strides, low, high, dilation, spread, groups)(x, w)


def _are_blocks(
    w: Node, strides: Numbers, low: Numbers, dilation: Numbers, spread: Numbers, groups: int
) -> bool:
    """Whether every element becomes a block of the result, and phases would be poor products."""
    kernel = w.shape[1:-1]
    fits = groups == 1 == max(strides) and kernel == spread and min(low) >= 0
    few = w.shape[0] < _FEW_OUTPUTS or prod(spread) > _FEW_PHASES
    return fits and few and max(spread) > 1 and max(dilation) == 1


def _are_columns(
    w: Node, strides: Numbers, dilation: Numbers, spread: Numbers, groups: int
) -> bool:
    """Whether the last axis' phases see as many taps each and have few outputs."""
    each = spread[-1]
    plain = groups == strides[-1] == dilation[-1] == 1
    return plain and each > 1 and w.shape[-2] % each == 0 and 0 < w.shape[0] <= _NARROW


def _phases_as_columns(
    x: Node, w: Node, strides: Numbers, low: Numbers, high: Numbers, dilation: Numbers,
    spread: Numbers,
) -> Node:  # fmt: skip
    """The last axis' phases as outputs of one kernel; the result starts inside a block of them."""
    each, size, before = spread[-1], x.shape[-2], low[-1]
    found = wide(size, each) + before + high[-1] - w.shape[-2] + 1
    start = (each - 1 - before) % each
    first = (start + before + 1) // each - 1
    blocks, taps = -(-(start + found) // each), w.shape[-2] // each
    high = (*high[:-1], blocks - size - first + taps - 1)
    outputs, *kernel, channels = w.shape
    split = reshape(w, (outputs, *kernel[:-1], taps, each, channels))
    n = split.ndim
    starts = (*(0,) * (n - 2), each - 1, 0)
    turned = Slice(starts, (*(1,) * (n - 2), -1, 1), split.shape)(split)
    turned = transpose(turned, (n - 2, *range(n - 2), n - 1))
    turned = reshape(turned, (each * outputs, *kernel[:-1], taps, channels))
    made = convolution(x, turned, strides, (*low[:-1], first), high, dilation, (*spread[:-1], 1), 1)
    out = reshape(made, (*made.shape[:-2], blocks * each, outputs))
    starts = (*(0,) * (out.ndim - 2), start, 0)
    return Slice(starts, (1,) * out.ndim, (*out.shape[:-2], found, outputs))(out)


def _blocks(x: Node, w: Node, low: Numbers, high: Numbers) -> Node:
    """One product of all phases; what lies outside the blocks is cut off, or zero."""
    outputs, *kernel, channels = w.shape
    batch, *places, _ = x.shape
    n = len(kernel)
    turned = Slice((0, *(k - 1 for k in kernel), 0), (1, *(-1,) * n, 1), w.shape)(w)
    matrix = transpose(turned, (n + 1, *range(1, n + 1), 0))
    matrix = reshape(matrix, (1, channels, prod(kernel) * outputs))
    rows = reshape(x, (1, batch * prod(places), channels))
    made = reshape(MatMul()(rows, matrix), (batch, *places, *kernel, outputs))
    order = [axis for i in range(1, n + 1) for axis in (i, n + i)]
    made = transpose(made, (0, *order, 2 * n + 1))
    whole = tuple(p * k for p, k in zip(places, kernel, strict=True))
    out = reshape(made, (batch, *whole, outputs))
    starts = tuple(k - 1 - before for k, before in zip(kernel, low, strict=True))
    sizes = tuple(
        wide(p, k) + before + after - k + 1
        for p, k, before, after in zip(places, kernel, low, high, strict=True)
    )
    return _window(out, starts, sizes)


def _window(x: Node, starts: Numbers, sizes: Numbers) -> Node:
    """Positions from ``starts`` on; those outside x are zero."""
    pairs = list(zip(starts, sizes, x.shape[1:-1], strict=True))
    first = tuple(max(a, 0) for a, _, _ in pairs)
    inside = tuple(max(min(a + size, n) - max(a, 0), 0) for a, size, n in pairs)
    if inside != x.shape[1:-1]:
        ones = (1,) * x.ndim
        x = Slice((0, *first, 0), ones, (x.shape[0], *inside, x.shape[-1]))(x)
    if inside != sizes:
        before = tuple(max(-a, 0) for a in starts)
        x = Embed((0, *before, 0), (1,) * x.ndim, (x.shape[0], *sizes, x.shape[-1]))(x)
    return x


def exchanged(w: Node, groups: int) -> Node:
    """Weights with inputs and outputs of each group exchanged and the kernel turned round."""
    outputs, *kernel, inputs = w.shape
    spatial = len(kernel)
    starts = (0, *(max(k - 1, 0) for k in kernel), 0)
    turned = Slice(starts, (1, *(-1,) * spatial, 1), w.shape)(w)
    split = reshape(turned, (groups, outputs // groups, *kernel, inputs))
    last = spatial + 2
    return reshape(
        transpose(split, (0, last, *range(2, last), 1)),
        (groups * inputs, *kernel, outputs // groups),
    )


def _are_lanes(groups: int, inputs: int, outputs: int) -> bool:
    """Whether groups of so few channels are the lanes of vectors, not products of their own."""
    few = inputs == outputs <= 8 or (inputs == 1 and outputs <= 8)
    return groups > 1 and few and outputs in (1, 2, 4, 8)


def _is_run(shape: Shape, strides: Numbers) -> bool:
    return shape[-1] == 1 or strides[-1] == 1


def _same_for_all(x: Node) -> Node | None:
    """The operand that was stretched along its first axis, if it was."""
    if isinstance(x.primitive, Full):
        return Node(x.primitive, (), x.shape[1:], x.dtype)
    if isinstance(x.primitive, Broadcast) and x.inputs:
        (source,) = x.inputs
        if source.shape == x.shape[1:] and 0 not in x.primitive.axes:
            return source
    return None


def _behind(x: Node, groups: int, axis: int) -> Node:
    """The batch axis merged into an axis (of one element's), inside each group there."""
    at = axis + 1
    split = reshape(x, (*x.shape[:at], groups, x.shape[at] // groups, *x.shape[at + 1 :]))
    order = [*range(1, at + 1), 0, *range(at + 1, split.ndim)]
    merged = (*x.shape[1:at], x.shape[0] * x.shape[at], *x.shape[at + 1 :])
    return reshape(transpose(split, order), merged)


def _in_front(out: Node, size: int, groups: int, axis: int) -> Node:
    """The reverse of ``_behind``."""
    rest = out.shape[axis] // size
    split = reshape(out, (*out.shape[:axis], groups, size, rest // groups, *out.shape[axis + 1 :]))
    at = axis + 1
    order = [at, *range(at), *range(at + 1, split.ndim)]
    return reshape(transpose(split, order), (size, *out.shape[:axis], rest, *out.shape[axis + 1 :]))
