"""What attention and its gradient mean, with whole matrices of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from mlx.primitives.attention import HIDDEN
from tests.reference.primitives import reference


def scores_of(p: Any, q: np.ndarray, k: np.ndarray, mask: np.ndarray | None) -> Any:
    """Scores [..., H, T, S], and where they are hidden."""
    share = q.shape[-2] // k.shape[-2]
    keys = np.repeat(k, share, -2)
    scores = p.scale * np.einsum("...thd,...shd->...hts", q, keys)
    hidden = np.zeros(scores.shape, bool)
    if mask is not None:
        if mask.dtype == bool:
            hidden |= ~mask
        else:
            scores = scores + mask
    if p.causal:
        length, size = scores.shape[-2:]
        hidden |= np.arange(size) > np.arange(length)[:, None] + (size - length)
    return np.where(hidden, HIDDEN, scores), hidden


@reference("Attention")
def _attention(p: Any, node: Any, *operands: np.ndarray) -> Any:
    return rows_of(p, *operands)


def rows_of(p: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, *extra: np.ndarray) -> Any:
    """Result, levels and log-sum-exps."""
    scores, _ = scores_of(p, q, k, extra[0] if p.masked else None)
    most = scores.max(-1, initial=-np.inf)
    sink = np.zeros((*scores.shape[:-2], 0, 1))
    if p.sinks:
        sink = extra[-1][..., None]
        most = np.maximum(most, sink)
    total = np.exp(scores - most[..., None]).sum(-1)
    if p.sinks:
        total = total + np.exp(sink - most)
    weights = np.exp(scores - most[..., None]) / total[..., None]
    values = np.repeat(v, q.shape[-2] // v.shape[-2], -2)
    level = 16 * np.round(most / 16)
    out = np.einsum("...hts,...she->...the", weights, values)
    return out, level, most - level + np.log(total)


@reference("AttentionGradient")
def _gradient(
    p: Any, node: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, cotangent: np.ndarray,
    level: np.ndarray, sums: np.ndarray, delta: np.ndarray, *mask: np.ndarray,
) -> Any:  # fmt: skip
    scores, hidden = scores_of(p, q, k, mask[0] if mask else None)
    weights = np.exp(scores - level[..., None] - sums[..., None])
    share = q.shape[-2] // k.shape[-2]
    keys, values = np.repeat(k, share, -2), np.repeat(v, share, -2)
    gaps = np.einsum("...the,...she->...hts", cotangent, values) - delta[..., None]
    of_scores = np.where(hidden, 0, weights * gaps) * p.scale
    return (
        np.einsum("...hts,...shd->...thd", of_scores, keys),
        _shared(np.einsum("...hts,...thd->...shd", of_scores, q), share),
        _shared(np.einsum("...hts,...the->...she", weights, cotangent), share),
    )


def _shared(x: np.ndarray, share: int) -> np.ndarray:
    """The sum over heads that share a group."""
    *lead, heads, size = x.shape
    return x.reshape(*lead, heads // share, share, size).sum(-2)
