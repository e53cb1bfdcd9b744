"""Positional encodings: rotary, sinusoidal and linear biases."""

from __future__ import annotations

import math

import mlx.core as mx
from mlx.nn._checks import need_arrays
from mlx.nn.layers.base import Module


class RoPE(Module):
    """Rotate pairs of the first `dims` features by angles that grow with the position.

    The last two axes are positions and features; `traditional` pairs neighbours, else the two
    halves. Source: Su et al. 2021.

    >>> nn.RoPE(8)(mx.ones((2, 4, 16, 8))).shape
    (2, 4, 16, 8)
    """

    def __init__(
        self, dims: int, traditional: bool = False, base: float = 10000, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.dims = dims
        self.traditional = traditional
        self.base = base
        self.scale = scale

    def _extra_repr(self) -> str:
        return f"{self.dims}, traditional={self.traditional}"

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        return mx.fast.rope(
            x,
            self.dims,
            traditional=self.traditional,
            base=self.base,
            scale=self.scale,
            offset=offset,
        )


class SinusoidalPositionalEncoding(Module):
    """Sines and cosines of positions at `dims` / 2 frequencies each (Vaswani et al. 2017).

    Frequencies fall geometrically from `max_freq` to `min_freq`; `full_turns` counts them in
    turns; `scale` (by default sqrt(2 / dims)) multiplies the result.

    >>> nn.SinusoidalPositionalEncoding(8)(mx.arange(5)).shape
    (5, 8)
    """

    def __init__(
        self,
        dims: int,
        min_freq: float = 0.0001,
        max_freq: float = 1,
        scale: float | None = None,
        cos_first: bool = False,
        full_turns: bool = False,
    ) -> None:
        super().__init__()
        falling = 1 - mx.arange(0, dims // 2) / (dims // 2 - 1)
        low, high = math.log(min_freq), math.log(max_freq)
        sigmas = mx.exp(falling * (high - low) + low)
        # The underscore keeps it out of the parameters.
        self._sigmas = sigmas * (2 * math.pi) if full_turns else sigmas
        self.scale = scale or math.sqrt(2 / dims)
        self.cos_first = cos_first

    def __call__(self, x: mx.array) -> mx.array:
        angles = x[..., None] * self._sigmas
        parts = [mx.cos(angles), mx.sin(angles)]
        y = mx.concatenate(parts if self.cos_first else parts[::-1], axis=-1)
        return y * self.scale if self.scale != 1 else y


class ALiBi(Module):
    """Add to attention scores a bias that falls with the distance (Press et al. 2022).

    Scores are ``(N, heads, queries, keys)``; `offset` is the position of the first query.

    >>> nn.ALiBi()(mx.zeros((1, 2, 3, 3))).shape
    (1, 2, 3, 3)
    """

    @staticmethod
    def create_alibi_matrix(
        q_sequence_length: int,
        k_sequence_length: int,
        num_heads: int,
        offset: int = 0,
        dtype: mx.Dtype = mx.float32,
    ) -> mx.array:
        """Return the biases ``(1, heads, q_sequence_length - offset, k_sequence_length)``."""
        queries = mx.arange(offset, q_sequence_length)
        keys = mx.arange(0, k_sequence_length)
        distance = -mx.abs(mx.expand_dims(queries[:, None] - keys[None, :], (0, 1)))
        slope = ALiBi.create_alibi_slope(num_heads, dtype)
        return distance.astype(dtype) * slope

    @staticmethod
    def create_alibi_slope(num_heads: int, dtype: mx.Dtype = mx.float32) -> mx.array:
        """Return the slope of each head, shape ``(heads, 1, 1)``."""
        closest = 2 ** math.floor(math.log2(num_heads))
        slopes = _geometric_slopes(closest)
        if closest < num_heads:
            slopes += _geometric_slopes(2 * closest)[::2][: num_heads - closest]
        return mx.array(slopes, dtype=dtype)[:, None, None]

    def __call__(
        self, attention_scores: mx.array, offset: int = 0, mask: mx.array | None = None
    ) -> mx.array:
        need_arrays("ALiBi", attention_scores)
        bias = ALiBi.create_alibi_matrix(
            attention_scores.shape[-2] + offset,
            attention_scores.shape[-1],
            attention_scores.shape[1],
            offset,
            attention_scores.dtype,
        )
        return attention_scores + (bias if mask is None else bias + mask)


def _geometric_slopes(heads: int) -> list[float]:
    start = 2.0 ** (-8 / heads)
    return [start ** (i + 1) for i in range(heads)]
