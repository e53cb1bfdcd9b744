"""Embedding: a table of vectors."""

from __future__ import annotations

import math

import mlx.core as mx
from mlx.nn._checks import positive
from mlx.nn.layers.base import Module
from mlx.nn.layers.quantized import QuantizedEmbedding


class Embedding(Module):
    """Look up rows of a table of shape ``(num_embeddings, dims)`` by integer index.

    The rows are drawn from a normal distribution with variance ``1 / dims``.

    >>> nn.Embedding(10, 4)(mx.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, dims: int) -> None:
        super().__init__()
        self.weight = mx.random.normal(
            (num_embeddings, dims), scale=math.sqrt(1 / positive("Embedding", dims))
        )

    def _extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {self.weight.shape[1]}"

    def __call__(self, x: mx.array) -> mx.array:
        return self["weight"][x]

    def as_linear(self, x: mx.array) -> mx.array:
        """Multiply by the transposed table: the output layer that shares the embedding's weight.

        >>> nn.Embedding(10, 4).as_linear(mx.ones((2, 4))).shape
        (2, 10)
        """
        return x @ self["weight"].T

    def to_quantized(
        self,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ) -> QuantizedEmbedding:
        """Return a `QuantizedEmbedding` of this layer; ValueError with `quantize_input`."""
        if quantize_input:
            raise ValueError("Quantized input is not supported.")
        return QuantizedEmbedding.from_embedding(self, group_size, bits, mode)
