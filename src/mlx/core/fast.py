"""Fused compositions of models."""

from mlx.ops.attention import scaled_dot_product_attention
from mlx.ops.delta import gated_delta_update
from mlx.ops.fast import cross_entropy, layer_norm, rms_norm, rope

__all__ = [
    "cross_entropy",
    "gated_delta_update",
    "layer_norm",
    "rms_norm",
    "rope",
    "scaled_dot_product_attention",
]
