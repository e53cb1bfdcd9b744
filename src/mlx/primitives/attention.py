"""Attention with scaled dot products, computed by blocks, and its gradient.

Operands have any equal leading (batch) axes: queries ``[..., T, H, D]``, keys ``[..., S, G, D]``
and values ``[..., S, G, E]``, where H is a multiple of G and neighbouring query heads share one
key head; an optional mask ``[..., H, T, S]``, bool (True: seen) or added to the scores; optional
sinks ``[..., H]``, the scores of one more key whose value is zero.

Further derivatives are compositions of matrix products: quadratic in the length, but complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Pick, Primitive, full_like, iota, zeros_like
from mlx.primitives.bitwise import BitwiseInvert, BitwiseOr
from mlx.primitives.contraction import MatMul, adjoint
from mlx.primitives.elementwise import Greater, cast, where
from mlx.primitives.reductions import Sum, broadcast_axes
from mlx.primitives.transcendental import Exp
from mlx.primitives.views import reshape, transpose

HIDDEN = -(2.0**127)
"""What a hidden score counts as: finite, so that a row without any key is a mean, not NaN; and the
same number in every dtype."""


def wide(dtype: Dtype) -> Dtype:
    """The dtype that scores, sums and log-sum-exps are kept in."""
    return dt.float64 if dtype is dt.float64 else dt.float32


def _check(q: Node, k: Node, v: Node, mask: Node | None) -> None:
    *lead, length, heads, size = q.shape
    *same, keys, groups, _ = v.shape
    fits = (
        lead == same
        and k.shape == (*lead, keys, groups, size)
        and q.dtype is k.dtype is v.dtype
        and keys > 0
        and groups > 0
        and heads % groups == 0
        and (mask is None or mask.shape == (*lead, heads, length, keys))
    )
    if not fits:
        raise ValueError(f"[attention] operands do not fit: {[q, k, v, mask]}.")


@dataclass(frozen=True)
class Attention(Primitive):
    """``softmax(scale q k^T + mask) v``, ``[..., T, H, E]``; and for each row, ``[..., H, T]``, a
    level near its largest score (a multiple of 16, hence without derivative) and the log-sum-exp
    of its scores above that level.  (Their sum would lose what the scores differ by where all
    are large, as with rows that a mask of -1e9 hides.)

    ``causal``: query t sees keys up to ``S - T + t``.  ``masked``, ``sinks``: which optional
    operands follow.
    """

    by_types = True
    family = "attention"
    outputs = 3
    scale: float
    causal: bool = False
    masked: bool = False
    sinks: bool = False

    def _optional(self, extra: Sequence[Any]) -> tuple[Any, Any]:
        """(mask, sinks) among what follows the values."""
        mask = extra[0] if self.masked else None
        return mask, extra[-1] if self.sinks else None

    def infer(self, q: Node, k: Node, v: Node, *extra: Node) -> tuple[Any, Any]:  # type: ignore[override]
        mask, sinks = self._optional(extra)
        _check(q, k, v, mask)
        *lead, length, heads, _ = q.shape
        if sinks is not None and sinks.shape != (*lead, heads):
            raise ValueError(f"[attention] sinks do not fit: {[q, sinks]}.")
        rows: Shape = (*lead, heads, length)
        out: Shape = (*lead, length, heads, v.shape[-1])
        numbers = (rows, wide(q.dtype))
        return ((out, q.dtype), numbers, numbers), None

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)

    def _gradient(self) -> AttentionGradient:
        return AttentionGradient(self.scale, self.causal, self.masked)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        q, k, v, *extra = node.inputs
        mask, sinks = self._optional(extra)
        of_out, _, of_sums = cotangents
        out, level, sums = (Pick(i)(node) for i in range(3))
        if of_out is None:
            of_out = zeros_like(out)
        delta = _row_products(of_out, out)
        if of_sums is not None:
            delta = delta - of_sums
        operands = (q, k, v, of_out, level, sums, delta, *([] if mask is None else [mask]))
        of_mask = of_sinks = None
        if mask is not None and wanted[3] and mask.dtype.is_inexact:
            of_mask = _Scores(self, *operands).mask_cotangent()
        if sinks is not None and wanted[-1]:
            shares = _shares(sinks, level, sums)
            of_sinks = cast(-Sum(sums.ndim - 1)(shares * delta), sinks.dtype)
        found: list[Node | None] = [None] * 3
        if any(wanted[:3]):
            made = self._gradient()(*operands)
            found = [Pick(i)(made) if wanted[i] else None for i in range(3)]
        return [*found, *([of_mask] if self.masked else []), *([of_sinks] if self.sinks else [])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        q, k, v, *extra = node.inputs
        mask, sinks = self._optional(extra)
        of_mask, of_sinks = self._optional(tangents[3:])
        some, level, sums = zeros_like(Pick(0)(node)), Pick(1)(node), Pick(2)(node)
        masks = [] if mask is None else [mask]
        at = _Scores(self, q, k, v, some, level, sums, zeros_like(sums), *masks)
        moved = at.moved(tangents[0], tangents[1], of_mask)
        weights = at.weights
        of_sums = None if moved is None else at.total(weights * moved)
        if of_sinks is not None:
            shares = _shares(sinks, level, sums)
            part = at.rows_of_sums(shares * _along_rows(cast(of_sinks, sums.dtype), sums))
            of_sums = part if of_sums is None else of_sums + part
        changes = []
        if of_sums is not None:
            change = at.spread(-of_sums) if moved is None else moved - at.spread(of_sums)
            changes.append(MatMul()(weights * change, at.v))
        if tangents[2] is not None:
            changes.append(MatMul()(weights, at.columns(tangents[2])))
        of_out = None
        if changes:
            of_out = at.as_queries(sum(changes[1:], changes[0]))
        return [of_out, None, None if of_sums is None else at.as_sums(of_sums)]


@dataclass(frozen=True)
class AttentionGradient(Primitive):
    """Cotangents of queries, keys and values.

    Operands: queries, keys, values; the cotangent of the result ``[..., T, H, E]``; levels,
    log-sum-exps and deltas ``[..., H, T]``; the mask.  With p = exp(scores - level - sums) and
    ds = p (cotangent v^T - delta), which is 0 where hidden, they are ``scale ds k``,
    ``scale ds^T q`` and ``p^T cotangent``.
    """

    by_types = True
    family = "attention"
    outputs = 3
    scale: float
    causal: bool = False
    masked: bool = False

    def infer(  # type: ignore[override]
        self,
        q: Node,
        k: Node,
        v: Node,
        of_out: Node,
        level: Node,
        sums: Node,
        delta: Node,
        *mask: Node,
    ) -> tuple[Any, Any]:
        _check(q, k, v, mask[0] if mask else None)
        *lead, length, heads, _ = q.shape
        rows = (*lead, heads, length)
        if (
            of_out.shape != (*lead, length, heads, v.shape[-1])
            or of_out.dtype is not q.dtype
            or any(x.shape != rows or x.dtype is not wide(q.dtype) for x in (level, sums, delta))
        ):
            raise ValueError(f"[attention] operands do not fit: {[q, of_out, level, sums, delta]}.")
        return tuple((x.shape, x.dtype) for x in (q, k, v)), None

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        at = _Scores(self, *node.inputs)
        of_q, of_k, of_v, of_cotangent, of_level, of_sums, of_delta, *of_mask = tangents
        of_sums = _plus(of_level, of_sums)
        moved = at.moved(of_q, of_k, of_mask[0] if of_mask else None)
        moved = _plus(moved, None if of_sums is None else -at.spread(at.rows_of_sums(of_sums)))
        of_p = None if moved is None else at.weights * moved
        change = _plus(
            None if of_cotangent is None else MatMul()(at.queries(of_cotangent), adjoint(at.v)),
            None if of_v is None else MatMul()(at.cotangent, adjoint(at.columns(of_v))),
        )
        if of_delta is not None:
            change = _plus(change, -at.spread(at.rows_of_sums(of_delta)))
        of_ds = _plus(
            None if of_p is None else of_p * at.gaps,
            None if change is None else at.weights * change,
        )
        of_ds = None if of_ds is None else at.shown(of_ds)
        ds, scale = at.ds, self.scale
        queries = _plus(
            None if of_ds is None else MatMul()(of_ds, at.k),
            None if of_k is None else MatMul()(ds, at.columns(of_k)),
        )
        keys = _plus(
            None if of_ds is None else MatMul()(adjoint(of_ds), at.q),
            None if of_q is None else MatMul()(adjoint(ds), at.queries(of_q)),
        )
        values = _plus(
            None if of_p is None else MatMul()(adjoint(of_p), at.cotangent),
            None
            if of_cotangent is None
            else MatMul()(adjoint(at.weights), at.queries(of_cotangent)),
        )
        return [
            None if queries is None else at.as_queries(queries * scale),
            None if keys is None else at.as_columns(keys * scale),
            None if values is None else at.as_columns(values),
        ]

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        """With a, b, c the cotangents of the three results; ``bar`` is the cotangent of ds."""
        at, scale = _Scores(self, *node.inputs), self.scale
        a, b, c = (
            convert(like if given is None else given)
            for given, like, convert in zip(
                cotangents,
                (zeros_like(x) for x in node.inputs[:3]),
                (at.queries, at.columns, at.columns),
                strict=True,
            )
        )
        bar = at.shown(MatMul()(a, adjoint(at.k)) + MatMul()(at.q, adjoint(b))) * scale
        of_p = bar * at.gaps + MatMul()(at.cotangent, adjoint(c))
        of_exponent, of_product = at.weights * of_p, at.weights * bar
        of_scores, ds = at.shown(of_exponent), at.ds
        of_q = (MatMul()(of_scores, at.k) + MatMul()(ds, b)) * scale
        of_k = (MatMul()(adjoint(of_scores), at.q) + MatMul()(adjoint(ds), a)) * scale
        of_v = MatMul()(adjoint(of_product), at.cotangent)
        of_cotangent = MatMul()(of_product, at.v) + MatMul()(at.weights, c)
        of_sums = at.as_sums(-at.total(of_exponent))
        return [
            at.as_queries(of_q),
            at.as_columns(of_k),
            at.as_columns(of_v),
            at.as_queries(of_cotangent),
            of_sums,
            of_sums,
            at.as_sums(-at.total(of_product)),
            *([at.as_mask(of_scores)] if self.masked else []),
        ]


def _plus(a: Node | None, b: Node | None) -> Node | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


def _row_products(a: Node, b: Node) -> Node:
    """The inner product of the last axes of ``[..., T, H, E]``, as ``[..., H, T]``."""
    to = wide(a.dtype)
    return _swap(Sum(a.ndim - 1)(cast(a, to) * cast(b, to)), a.ndim - 3)


def _swap(x: Node, axis: int) -> Node:
    """An axis and the next one exchanged."""
    axes = list(range(x.ndim))
    axes[axis : axis + 2] = axis + 1, axis
    return transpose(x, tuple(axes))


def _along_rows(x: Node, like: Node) -> Node:
    """The same for each element of the last axis."""
    return broadcast_axes(x, like.shape, range(x.ndim))


def _shares(sinks: Node, level: Node, sums: Node) -> Node:
    """The weights of sinks."""
    return Exp()((_along_rows(cast(sinks, sums.dtype), sums) - level) - sums)


class _Scores:
    """The operands of a gradient with the whole matrix of scores, ``[..., G, rows, S]``.

    Rows are the queries of all heads that share a key head.
    """

    def __init__(
        self, of: Attention | AttentionGradient, q: Node, k: Node, v: Node, cotangent: Node,
        level: Node, sums: Node, delta: Node, mask: Node | None = None,
    ) -> None:  # fmt: skip
        self.lead = q.shape[:-3]
        self.length, self.heads = q.shape[-3:-1]
        self.keys, self.groups = k.shape[-3:-1]
        self.narrow, self.wide = q.dtype, wide(q.dtype)
        self.scale = of.scale
        self.q, self.cotangent = self.queries(q), self.queries(cotangent)
        self.k, self.v = self.columns(k), self.columns(v)
        self.mask = mask
        self.hidden = self._hidden(of.causal, mask)
        scores = MatMul()(self.q, adjoint(self.k)) * of.scale
        if mask is not None and mask.dtype is not dt.bool_:
            scores = scores + self._scores_of(cast(mask, self.wide))
        if self.hidden is not None:
            scores = where(self.hidden, full_like(scores, HIDDEN), scores)
        above = scores - self.spread(self.rows_of_sums(level))
        self.weights = Exp()(above - self.spread(self.rows_of_sums(sums)))
        self.gaps = MatMul()(self.cotangent, adjoint(self.v)) - self.spread(
            self.rows_of_sums(delta)
        )

    @property
    def _rows(self) -> int:
        return self.heads // self.groups * self.length

    @property
    def ds(self) -> Node:
        return self.shown(self.weights * self.gaps)

    def _hidden(self, causal: bool, mask: Node | None) -> Node | None:
        found = None
        if mask is not None and mask.dtype is dt.bool_:
            found = BitwiseInvert()(self._scores_of(mask))
        if causal:
            shape, axis = (*self.lead, self.heads, self.length, self.keys), len(self.lead) + 1
            last = iota(shape, axis, dt.int64) + (self.keys - self.length)
            late = self._scores_of(Greater()(iota(shape, axis + 1, dt.int64), last))
            found = late if found is None else BitwiseOr()(found, late)
        return found

    def _scores_of(self, x: Node) -> Node:
        return reshape(x, (*self.lead, self.groups, self._rows, self.keys))

    def shown(self, x: Node) -> Node:
        """Zero where scores are hidden."""
        return x if self.hidden is None else where(self.hidden, zeros_like(x), x)

    def queries(self, x: Node) -> Node:
        """[..., T, H, D] -> [..., G, rows, D]."""
        lined = _swap(cast(x, self.wide), len(self.lead))
        return reshape(lined, (*self.lead, self.groups, self._rows, x.shape[-1]))

    def as_queries(self, x: Node) -> Node:
        split = reshape(x, (*self.lead, self.heads, self.length, x.shape[-1]))
        return cast(_swap(split, len(self.lead)), self.narrow)

    def columns(self, x: Node) -> Node:
        """[..., S, G, D] -> [..., G, S, D]."""
        return _swap(cast(x, self.wide), len(self.lead))

    def as_columns(self, x: Node) -> Node:
        return cast(_swap(x, len(self.lead)), self.narrow)

    def rows_of_sums(self, x: Node) -> Node:
        """[..., H, T] -> [..., G, rows]."""
        return reshape(x, (*self.lead, self.groups, self._rows))

    def as_sums(self, x: Node) -> Node:
        return reshape(x, (*self.lead, self.heads, self.length))

    def as_mask(self, x: Node) -> Node | None:
        assert self.mask is not None
        if not self.mask.dtype.is_inexact:
            return None
        whole = reshape(x, (*self.lead, self.heads, self.length, self.keys))
        return cast(whole, self.mask.dtype)

    def mask_cotangent(self) -> Node | None:
        return self.as_mask(self.ds)

    def spread(self, rows: Node) -> Node:
        """The same for every key."""
        shape = (*rows.shape, self.keys)
        return broadcast_axes(rows, shape, range(rows.ndim))

    def total(self, scores: Node) -> Node:
        return Sum(scores.ndim - 1)(scores)

    def moved(self, of_q: Node | None, of_k: Node | None, of_mask: Node | None) -> Node | None:
        """The tangent of the scores."""
        left = None if of_q is None else MatMul()(self.queries(of_q), adjoint(self.k))
        right = None if of_k is None else MatMul()(self.q, adjoint(self.columns(of_k)))
        both = _plus(left, right)
        both = None if both is None else both * self.scale
        if of_mask is not None:
            both = _plus(both, self._scores_of(cast(of_mask, self.wide)))
        return None if both is None else self.shown(both)
